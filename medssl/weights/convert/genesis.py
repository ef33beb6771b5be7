"""Models Genesis' U-Net and SuPreM's, which share their encoder."""

from __future__ import annotations

from medssl.weights.convert.checkpoint import Checkpoint, root_of
from medssl.weights.convert.proposal import Contract, Proposal, split_root

__all__ = ["propose_genesis"]

_STEM = "down_tr64.ops.0.conv1.weight"
_WIDTH = "down_tr64.ops.1.conv1.weight"


def propose_genesis(checkpoint: Checkpoint) -> Proposal | None:
    """Return the encoder of the U-Net in a checkpoint; none if there is none."""
    root = root_of(checkpoint.tensors, _STEM)
    if root is None or root + _WIDTH not in checkpoint.tensors:
        return None
    under, outside = split_root(checkpoint.tensors, root)
    tensors = {name: t for name, t in under.items() if name.startswith("down_tr")}
    stem = tensors[_STEM]
    is_suprem = checkpoint.container == "net"
    return Proposal(
        family="suprem_unet" if is_suprem else "models_genesis",
        encoder="unet_genesis",
        config={
            "spatial_dims": stem.ndim - 2,
            "in_channels": stem.shape[1],
            "width": tensors[_WIDTH].shape[0],
            "statistics": "batch",
        },
        tensors=tensors,
        stem=_STEM,
        dropped=(*outside, *sorted(root + name for name in under if name not in tensors)),
        notes=("norms take the statistics of the batch at inference too, as published",),
        contract=Contract("ct", (1.5, 1.5, 1.5), (-175, 250), 0.0)
        if is_suprem
        else Contract("ct", None, (-1000, 1000), 0.0, (64, 64, 32)),
    )
