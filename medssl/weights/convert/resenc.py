"""nnU-Net's residual encoder: OpenMind's ResEnc-L and whatever nnssl pretrained.

Their arrays are (z, y, x) and ours (x, y, z), so that every kernel is turned, which is exact.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from medssl.errors import WeightsMismatchError
from medssl.weights.convert.axes import TURNED, turn_kernels
from medssl.weights.convert.checkpoint import Checkpoint, root_of
from medssl.weights.convert.plans import array_axes, contract_of, strides_of
from medssl.weights.convert.proposal import Proposal, split_root

__all__ = ["propose_resenc"]

_ANCHOR = "stages.0.blocks.0.conv1.conv.weight"
_STEM = "stem.convs.0.conv.weight"
_WIDE = (32, 64, 128, 256, 320, 320)
_VARIANTS = {
    ((16, 32, 64, 96, 96), (1, 1, 1, 1, 1)): "resenc_xs",
    ((16, 32, 64, 128, 192), (1, 1, 1, 1, 1)): "resenc_s",
    (_WIDE, (1, 2, 2, 3, 3, 3)): "resenc_m",
    (_WIDE, (1, 3, 4, 6, 6, 6)): "resenc_l",
}


def propose_resenc(checkpoint: Checkpoint) -> Proposal | None:
    """Return the residual encoder in a checkpoint; none if there is none.

    Strides leave no trace in the tensors. They are taken from the plan beside them, and without one
    are 1, then 2 everywhere.
    """
    root = root_of(checkpoint.tensors, _ANCHOR)
    if root is None or root + _STEM not in checkpoint.tensors:
        return None
    under, outside = split_root(checkpoint.tensors, root)
    # each convolution lies in the file twice, once more as all_modules
    tensors = {
        n: t
        for n, t in under.items()
        if re.match(r"(stem|stages)\.", n) and ".all_modules." not in n
    }
    config = _config(tensors)
    axes = array_axes(checkpoint.beside, config["spatial_dims"])
    strides, note = strides_of(checkpoint.beside, len(config["features"]), axes)
    if strides is not None:
        config["stage_strides"] = strides
    key = (tuple(config["features"]), tuple(config["blocks"]))
    contract = contract_of(checkpoint.beside, axes)
    return Proposal(
        family="openmind_resenc" if contract.is_confirmed else "nnunet_resenc",
        encoder=_VARIANTS.get(key, "resenc_l"),
        config=config,
        tensors=turn_kernels(tensors, axes),
        stem=_STEM,
        adapted=(TURNED,),
        dropped=(*outside, *sorted(root + name for name in under if name not in tensors)),
        notes=(note,),
        contract=contract,
    )


def _config(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    matches = (re.match(r"stages\.(\d+)\.blocks\.(\d+)\.", name) for name in tensors)
    places = {(int(m.group(1)), int(m.group(2))) for m in matches if m}
    count = 1 + max(stage for stage, _ in places)
    firsts = [tensors.get(f"stages.{s}.blocks.0.conv1.conv.weight") for s in range(count)]
    if any(first is None for first in firsts):
        raise WeightsMismatchError("the file lacks whole stages of its network; download it again")
    stem = tensors[_STEM]
    return {
        "spatial_dims": stem.ndim - 2,
        "in_channels": stem.shape[1],
        "features": [len(first) for first in firsts if first is not None],
        "blocks": [sum(stage == s for stage, _ in places) for s in range(count)],
    }
