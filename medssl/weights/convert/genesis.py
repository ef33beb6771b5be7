"""Models Genesis' U-Net, SuPreM's and PCRLv2's, which share their encoder.

The first two always norm by the batch at hand; PCRLv2 has PyTorch's own norms, which keep running
statistics.
"""

from __future__ import annotations

from dataclasses import replace

from medssl.weights.convert.checkpoint import Checkpoint, root_of
from medssl.weights.convert.proposal import Contract, Proposal, split_root

__all__ = ["propose_genesis"]

_STEM = "down_tr64.ops.0.conv1.weight"
_WIDTH = "down_tr64.ops.1.conv1.weight"
_PCRL = "up_tr256.predictor_head.0.weight"
_LUNG = Contract("ct", None, (-1000, 1000), 0.0, (64, 64, 32))
_CONTRACTS = {
    "models_genesis": _LUNG,
    "pcrlv2": replace(_LUNG, is_confirmed=False),
    "suprem_unet": Contract("ct", (1.5, 1.5, 1.5), (-175, 250), 0.0),
}
_NOTES = {
    "batch": "norms take the statistics of the batch at inference too, as published",
    "running": "norms take the statistics kept from training, as published",
}


def propose_genesis(checkpoint: Checkpoint) -> Proposal | None:
    """Return the encoder of the U-Net in a checkpoint; none if there is none."""
    root = root_of(checkpoint.tensors, _STEM)
    if root is None or root + _WIDTH not in checkpoint.tensors:
        return None
    under, outside = split_root(checkpoint.tensors, root)
    tensors = {name: t for name, t in under.items() if name.startswith("down_tr")}
    stem = tensors[_STEM]
    family = "suprem_unet" if checkpoint.container == "net" else "models_genesis"
    family = "pcrlv2" if _PCRL in under else family
    statistics = "running" if family == "pcrlv2" else "batch"
    return Proposal(
        family=family,
        encoder="unet_genesis",
        config={
            "spatial_dims": stem.ndim - 2,
            "in_channels": stem.shape[1],
            "width": tensors[_WIDTH].shape[0],
            "statistics": statistics,
        },
        tensors=tensors,
        stem=_STEM,
        dropped=(*outside, *sorted(root + name for name in under if name not in tensors)),
        notes=(_NOTES[statistics],),
        contract=_CONTRACTS[family],
    )
