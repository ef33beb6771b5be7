"""nnU-Net's plain convolutional encoder: VoComni for nnU-Net, and runs of nnU-Net itself.

Their arrays are (z, y, x) and ours (x, y, z), so that every kernel is turned, which is exact.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from medssl.errors import WeightsMismatchError
from medssl.weights.convert.axes import TURNED, turn_kernels
from medssl.weights.convert.checkpoint import Checkpoint, root_of
from medssl.weights.convert.plans import array_axes, contract_of, strides_of
from medssl.weights.convert.proposal import Proposal, split_root

__all__ = ["propose_plain"]

_STEM = "stages.0.0.convs.0.conv.weight"
_PLACE = re.compile(r"stages\.(\d+)\.0\.convs\.(\d+)\.(conv|norm)\.")


def propose_plain(checkpoint: Checkpoint) -> Proposal | None:
    """Return the plain encoder in a checkpoint; none if there is none.

    Strides leave no trace in the tensors. They are taken from the plan beside them, and without one
    are 1, then 2 everywhere, as in the published VoComni.
    """
    root = root_of(checkpoint.tensors, _STEM)
    if root is None:
        return None
    under, outside = split_root(checkpoint.tensors, root)
    # each convolution lies in the file twice, once more as all_modules
    tensors = {n: t for n, t in under.items() if _PLACE.match(n)}
    config = _config(tensors)
    axes = array_axes(checkpoint.beside, config["spatial_dims"])
    strides, note = strides_of(checkpoint.beside, len(config["features"]), axes)
    if strides is not None:
        config["stage_strides"] = strides
    is_vocomni = not checkpoint.container and config["spatial_dims"] == 3
    contract = contract_of({"trainer_name": "nnUNet", **checkpoint.beside}, axes)
    if is_vocomni:
        contract = replace(contract, modality="ct", patch=(128, 128, 128))
    return Proposal(
        family="vocomni_nnunet" if is_vocomni else "nnunet_plain",
        encoder="plainconv",
        config=config,
        tensors=turn_kernels(tensors, axes),
        stem=_STEM,
        adapted=(TURNED,),
        dropped=(*outside, *sorted(root + name for name in under if name not in tensors)),
        notes=(note,),
        contract=contract,
    )


def _config(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    matches = (_PLACE.match(name) for name in tensors)
    places = {(int(m.group(1)), int(m.group(2))) for m in matches if m}
    count = 1 + max(stage for stage, _ in places)
    firsts = [tensors.get(f"stages.{s}.0.convs.0.conv.weight") for s in range(count)]
    if any(first is None for first in firsts):
        raise WeightsMismatchError("the file lacks whole stages of its network; download it again")
    stem = tensors[_STEM]
    return {
        "spatial_dims": stem.ndim - 2,
        "in_channels": stem.shape[1],
        "features": [len(first) for first in firsts if first is not None],
        "convolutions": [sum(stage == s for stage, _ in places) for s in range(count)],
    }
