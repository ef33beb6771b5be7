"""ResNets: MedicalNet in 3D, and torchvision's names in 2D (LVM-Med, SparK, SwAV, MoCo, BYOL)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from medssl.errors import WeightsMismatchError
from medssl.weights.convert.checkpoint import Checkpoint, root_of
from medssl.weights.convert.proposal import Contract, Proposal, split_root

__all__ = ["propose_resnet"]

_ANCHOR = "layer1.0.conv1.weight"
_STEM = "conv1.weight"
_DILATED = "layer3 and layer4 are dilated by 2 and 4 and keep the grid of layer2, as published"
_ROWS = "trained on pictures, rows from top to bottom first; slices here are (x, y) of RAS volumes"
_WRAPPED = {"online_network.encoder.": "byol", "encoder_q.": "moco", "model.": "swav"}
"""Prefixes of Lightning's files, and the method that has a network of this name."""

_VARIANTS: dict[tuple[bool, tuple[int, ...]], str] = {
    (False, (1, 1, 1, 1)): "resnet10",
    (False, (2, 2, 2, 2)): "resnet18",
    (False, (3, 4, 6, 3)): "resnet34",
    (True, (3, 4, 6, 3)): "resnet50",
    (True, (3, 4, 23, 3)): "resnet101",
    (True, (3, 8, 36, 3)): "resnet152",
    (True, (3, 24, 36, 3)): "resnet200",
}


def propose_resnet(checkpoint: Checkpoint) -> Proposal | None:
    """Return the ResNet in a checkpoint; none if there is none."""
    root = root_of(checkpoint.tensors, _ANCHOR)
    if root is None or root + _STEM not in checkpoint.tensors:
        return None
    under, outside = split_root(checkpoint.tensors, root)
    tensors = {n: t for n, t in under.items() if re.match(r"(conv1|bn1|layer[1-4])\.", n)}
    config, encoder = _config(tensors)
    heads = tuple(sorted(root + name for name in under if name not in tensors))
    is_volume = config["spatial_dims"] == 3
    if is_volume:
        config["dilated"] = True
    patch = (96, 96, 96) if is_volume else (224, 224)
    return Proposal(
        family="medicalnet" if is_volume else _family(checkpoint, root),
        encoder=encoder,
        config=config,
        tensors=tensors,
        stem=_STEM,
        dropped=(*outside, *heads),
        notes=(_DILATED if is_volume else _ROWS,),
        contract=Contract("mr", None, patch=patch, is_confirmed=False),
    )


def _family(checkpoint: Checkpoint, root: str) -> str:
    if "is_pretrain" in checkpoint.beside:
        return "spark_resnet"
    wrapped = (name for prefix, name in _WRAPPED.items() if root.endswith(prefix))
    method = next(wrapped, None) if checkpoint.container == "state_dict" else None
    return "resnet_2d" if method is None else f"{method}_resnet"


def _config(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Any], str]:
    matches = (re.match(r"layer(\d)\.(\d+)\.", name) for name in tensors)
    blocks = {(int(m.group(1)), int(m.group(2))) for m in matches if m}
    layers = tuple(sum(stage == s for stage, _ in blocks) for s in range(1, 5))
    if 0 in layers:
        raise WeightsMismatchError(
            f"the file holds {4 - layers.count(0)} of a ResNet's four stages; download it again"
        )
    stem = tensors[_STEM]
    is_bottleneck = "layer1.0.conv3.weight" in tensors
    name = _VARIANTS.get((is_bottleneck, layers), "resnet50" if is_bottleneck else "resnet18")
    return {
        "spatial_dims": stem.ndim - 2,
        "in_channels": stem.shape[1],
        "layers": list(layers),
        "shortcut": "B" if "layer2.0.downsample.0.weight" in tensors else "A",
        "widen": stem.shape[0] / 64,
    }, name
