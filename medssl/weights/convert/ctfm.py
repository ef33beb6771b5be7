"""CT-FM, and other encoders of MONAI's SegResNetDS."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from medssl.weights.convert.checkpoint import Checkpoint, root_of
from medssl.weights.convert.proposal import Contract, Proposal, split_root

__all__ = ["propose_ctfm"]

_STEM = "conv_init.weight"
_BLOCK = "layers.0.blocks.0.conv1.weight"
_STATISTICS = "layers.0.blocks.0.norm1.running_mean"
_PUBLISHED = [1, 2, 2, 4, 4]


def propose_ctfm(checkpoint: Checkpoint) -> Proposal | None:
    """Return the encoder of the SegResNetDS in a checkpoint; none if there is none.

    CT-FM's files hold the encoder by its bare names, or the whole network, and are flat.
    """
    root = root_of(checkpoint.tensors, _STEM)
    if root is None or root + _BLOCK not in checkpoint.tensors:
        return None
    under, outside = split_root(checkpoint.tensors, root)
    tensors = {n: t for n, t in under.items() if n.startswith(("conv_init.", "layers."))}
    stem = tensors[_STEM]
    blocks, norm = _blocks(tensors), "batch" if _STATISTICS in tensors else "instance"
    # the authors' own files are flat; nothing in them tells where their axes ran
    is_ctfm = not checkpoint.container and blocks == _PUBLISHED and norm == "batch"
    is_ctfm = is_ctfm and tuple(stem.shape[1:2]) == (1,) and stem.ndim == 5
    return Proposal(
        family="ct_fm" if is_ctfm else "segresnet_ds",
        encoder="segresnet_ds",
        config={
            "spatial_dims": stem.ndim - 2,
            "in_channels": stem.shape[1],
            "width": stem.shape[0],
            "blocks": blocks,
            "norm": norm,
            "axes": "SPL" if is_ctfm else "RAS",
        },
        tensors=tensors,
        stem=_STEM,
        dropped=(*outside, *sorted(root + name for name in under if name not in tensors)),
        notes=(
            "volumes are turned to superior, posterior, left on their way in, as published"
            if is_ctfm
            else "volumes are read as right, anterior, superior, MONAI's usual axes",
        ),
        contract=Contract("ct", None, (-1024, 2048), 0.0)
        if is_ctfm
        else Contract("unknown", None, patch=(96,) * (stem.ndim - 2), is_confirmed=False),
    )


def _blocks(tensors: Mapping[str, Tensor]) -> list[int]:
    """Return the blocks of each stage."""
    found = (re.match(r"layers\.(\d+)\.blocks\.(\d+)\.", name) for name in tensors)
    places = {(int(m.group(1)), int(m.group(2))) for m in found if m}
    stages = 1 + max(stage for stage, _ in places)
    return [sum(stage == s for stage, _ in places) for s in range(stages)]
