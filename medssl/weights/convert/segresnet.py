"""MONAI's SegResNet as SuPreM published it."""

from __future__ import annotations

import re

from medssl.weights.convert.checkpoint import Checkpoint, root_of
from medssl.weights.convert.proposal import Contract, Proposal, split_root

__all__ = ["propose_segresnet"]

_STEM = "convInit.conv.weight"


def propose_segresnet(checkpoint: Checkpoint) -> Proposal | None:
    """Return the encoder of the SegResNet in a checkpoint; none if there is none."""
    root = root_of(checkpoint.tensors, _STEM)
    if root is None:
        return None
    under, outside = split_root(checkpoint.tensors, root)
    tensors = {n: t for n, t in under.items() if n.startswith(("convInit.", "down_layers."))}
    # place 0 of a stage is the convolution that halves the grid
    matches = (re.match(r"down_layers\.(\d+)\.([1-9]\d*)\.", name) for name in tensors)
    places = {(int(m.group(1)), int(m.group(2))) for m in matches if m}
    stages = 1 + max((stage for stage, _ in places), default=-1)
    if not stages:
        return None
    stem = tensors[_STEM]
    is_suprem = checkpoint.container == "net"
    return Proposal(
        family="suprem_segresnet" if is_suprem else "segresnet",
        encoder="segresnet",
        config={
            "spatial_dims": stem.ndim - 2,
            "in_channels": stem.shape[1],
            "width": stem.shape[0],
            "blocks": [sum(stage == s for stage, _ in places) for s in range(stages)],
        },
        tensors=tensors,
        stem=_STEM,
        dropped=(*outside, *sorted(root + name for name in under if name not in tensors)),
        contract=Contract("ct", (1.5, 1.5, 1.5), (-175, 250), 0.0, is_confirmed=is_suprem),
    )
