"""What an encoder costs: parameters, arithmetic and memory, counted without computing anything.

The network is built and called on PyTorch's meta device, where tensors have shapes and no values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from medssl.encoders.base import build_encoder

__all__ = ["EncoderCost", "encoder_cost"]

_CROPS = 2
"""One cell of one crop is too little for the norms of some networks; the counts are halved."""


@dataclass(frozen=True)
class EncoderCost:
    """What one crop costs in single precision.

    Attributes:
        parameters: Numbers that are learned.
        operations: Floating point operations of a forward pass; a product with its sum is two.
        activation_bytes: What a training step keeps of the forward pass for the backward one.
            Attention is counted with its matrices, which fused kernels do not keep: an upper bound.
        features: Width of the coarsest map.
        stride: Voxels of the input for one cell of it, by axis.
    """

    parameters: int
    operations: int
    activation_bytes: int
    features: int
    stride: tuple[int, ...]


def encoder_cost(name: str, *, patch: Sequence[int], in_channels: int = 1) -> EncoderCost:
    """Count what an encoder costs for one crop.

    Args:
        name: A name of ``medssl info --encoders``.
        patch: Edges of the crop in voxels, two or three.
        in_channels: Channels of the input.

    Raises:
        UnknownNameError: If there is no such encoder.

    Example:
        >>> cost = encoder_cost("resnet18", patch=(32, 32, 32))
        >>> f"{cost.parameters / 1e6:.0f} M, {cost.operations / 1e9:.1f} GFLOP"
        '33 M, 1.0 GFLOP'
    """
    shape = tuple(patch)
    with torch.device("meta"):
        encoder = build_encoder(
            name, spatial_dims=len(shape), in_channels=in_channels, patch=shape
        ).train()
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        return tensor

    crop = torch.zeros(_CROPS, in_channels, *shape, device="meta")
    counter = FlopCounterMode(display=False)
    with counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        maps = encoder(crop)  # held until the count is done, so that no storage is used twice
    for parameter in encoder.parameters():
        kept.pop(parameter.untyped_storage()._cdata, None)
    del maps
    return EncoderCost(
        parameters=sum(math.prod(parameter.shape) for parameter in encoder.parameters()),
        operations=counter.get_total_flops() // _CROPS,
        activation_bytes=sum(kept.values()) // _CROPS,
        features=encoder.channels[-1],
        stride=tuple(encoder.strides[-1]),
    )
