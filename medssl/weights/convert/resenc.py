"""nnU-Net's residual encoder: OpenMind's ResEnc-L and whatever nnssl pretrained.

Their arrays are (z, y, x) and ours (x, y, z), so that every kernel is turned, which is exact.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from medssl.encoders.base import ENCODERS
from medssl.encoders.resenc import ResidualEncoder
from medssl.weights.convert.axes import TURNED, turn_kernels
from medssl.weights.convert.checkpoint import Checkpoint, root_of
from medssl.weights.convert.plans import array_axes, contract_of, stages_of, strides_of
from medssl.weights.convert.proposal import Proposal, split_root

__all__ = ["propose_resenc"]

_ANCHOR = "stages.0.blocks.0.conv1.conv.weight"
_STEM = "stem.convs.0.conv.weight"
_PLACE = re.compile(r"stages\.(\d+)\.blocks\.(\d+)\.")


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
    contract = contract_of(checkpoint.beside, axes)
    return Proposal(
        family="openmind_resenc" if contract.is_confirmed else "nnunet_resenc",
        encoder=_variant(config),
        config=config,
        tensors=turn_kernels(tensors, axes),
        stem=_STEM,
        adapted=(TURNED,),
        dropped=(*outside, *sorted(root + name for name in under if name not in tensors)),
        notes=(note,),
        contract=contract,
    )


def _config(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    features, blocks = stages_of(tensors, _PLACE, "stages.{}.blocks.0.conv1.conv.weight")
    dims, channels = tensors[_STEM].ndim - 2, tensors[_STEM].shape[1]
    return {"spatial_dims": dims, "in_channels": channels, "features": features, "blocks": blocks}


def _variant(config: Mapping[str, Any]) -> str:
    """Return the name of the encoder of these numbers; of others that of the largest."""
    numbers = {name: tuple(config[name]) for name in ("features", "blocks")}
    of_family = (name for name in ENCODERS if ENCODERS[name].family is ResidualEncoder)
    return next((name for name in of_family if ENCODERS[name].preset == numbers), "resenc_l")
