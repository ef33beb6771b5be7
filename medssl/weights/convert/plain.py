"""nnU-Net's plain convolutional encoder: VoComni for nnU-Net, and runs of nnU-Net itself.

Their arrays are (z, y, x) and ours (x, y, z), so that every kernel is turned, which is exact.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from medssl.weights.convert.axes import TURNED, turn_kernels
from medssl.weights.convert.checkpoint import Checkpoint, root_of
from medssl.weights.convert.plans import array_axes, contract_of, stages_of, strides_of
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
    features, convolutions = stages_of(tensors, _PLACE, "stages.{}.0.convs.0.conv.weight")
    return {
        "spatial_dims": tensors[_STEM].ndim - 2,
        "in_channels": tensors[_STEM].shape[1],
        "features": features,
        "convolutions": convolutions,
    }
