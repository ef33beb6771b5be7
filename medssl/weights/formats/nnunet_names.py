"""Our tensors under nnU-Net's names, turned from (x, y, z) to the (z, y, x) of its arrays.

dynamic-network-architectures files every convolution twice (``conv`` and ``all_modules.0``), and
the encoder once more inside the decoder. Each tensor is stored once and named as often.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from medssl.encoders.decoders import UNetDecoder
from medssl.encoders.primus import Primus
from medssl.encoders.resenc import ResidualEncoder
from medssl.encoders.tokens import map_to_tokens, tokens_to_map
from medssl.errors import InputError
from medssl.types import Shape
from medssl.weights.convert.axes import turn_kernels

__all__ = ["is_their_decoder", "primus_weights", "residual_weights", "unet_weights"]

_DOUBLED = re.compile(r"^(?P<block>.*)\.(?P<part>conv|norm)\.(?P<tensor>weight|bias)$")


def _turned(tensors: Mapping[str, Tensor], dims: int) -> dict[str, Tensor]:
    return turn_kernels(tensors, tuple(reversed(range(dims))))


def _doubled(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name the convolution and the norm of each block a second time."""
    named = dict(tensors)
    for name, tensor in tensors.items():
        found = _DOUBLED.match(name)
        if found is not None:
            place = 0 if found["part"] == "conv" else 1
            named[f"{found['block']}.all_modules.{place}.{found['tensor']}"] = tensor
    return named


def residual_weights(encoder: ResidualEncoder) -> dict[str, Tensor]:
    """Return the encoder as ``encoder.stem.*`` and ``encoder.stages.*``."""
    turned = _turned(encoder.state_dict(), encoder.spatial_dims)
    return {f"encoder.{name}": tensor for name, tensor in _doubled(turned).items()}


def is_their_decoder(decoder: object, encoder: ResidualEncoder) -> bool:
    """Say whether a decoder is that of nnU-Net's ``ResidualEncoderUNet``, with one convolution."""
    return (
        isinstance(decoder, UNetDecoder)
        and max(encoder.strides[0]) == 1
        and decoder.pyramid.widths == encoder.channels[:-1]
    )


def unet_weights(encoder: ResidualEncoder, decoder: UNetDecoder) -> dict[str, Tensor]:
    """Return encoder and decoder as the whole of nnU-Net's ``ResidualEncoderUNet``.

    A level without a head of its own, in a model without deep supervision, gets one of zeros:
    nnU-Net's class holds them all, and asks the finest alone.

    Args:
        encoder: Its strides begin with 1.
        decoder: One that :func:`is_their_decoder`.
    """
    named = residual_weights(encoder)
    named |= {f"decoder.{name}": tensor for name, tensor in named.items()}
    last = len(decoder.pyramid.widths) - 1
    state = _turned(decoder.state_dict(), encoder.spatial_dims)
    ours: dict[str, Tensor] = {}
    for name, tensor in state.items():
        part, level, rest = _split(name)
        their = {"ups": "transpconvs", "blocks": "stages", "heads": "seg_layers"}[part]
        # theirs are counted from the coarsest
        inner = {"ups": rest.removeprefix("conv."), "blocks": f"convs.0.{rest}", "heads": rest}
        ours[f"decoder.{their}.{last - level}.{inner[part]}"] = tensor
    finest = f"decoder.seg_layers.{last}."
    for level in range(last):
        width = decoder.pyramid.widths[last - level]
        head = ours[finest + "weight"]
        ours.setdefault(
            f"decoder.seg_layers.{level}.weight", head.new_zeros(len(head), width, *head.shape[2:])
        )
        ours.setdefault(f"decoder.seg_layers.{level}.bias", torch.zeros_like(ours[finest + "bias"]))
    return {**named, **_doubled(ours)}


def _split(name: str) -> tuple[str, int, str]:
    """Split ``pyramid.ups.0.conv.weight`` into part, level and the rest."""
    part, level, rest = name.removeprefix("pyramid.").split(".", 2)
    return part, int(level), rest


def primus_weights(encoder: Primus) -> dict[str, Tensor]:
    """Return the encoder as ``down_projection.*`` and ``eva.*``, its tokens in (z, y, x) order.

    Rotary positions turn the first pairs of a head with the first axis. Their first axis is our
    last, so the rows that make queries and keys change places in step, which leaves every product
    of a query and a key as it was.

    Raises:
        InputError: If it is planar: nnU-Net's Primus is for volumes.
    """
    if encoder.spatial_dims != 3:
        raise InputError(
            "a planar Primus has no place in nnU-Net, whose own is for volumes; take --to medssl, "
            "monai-bundle or torch-export"
        )
    state = _turned(encoder.state_dict(), 3)
    rows = _rows(encoder)
    named: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if re.search(r"\.attn\.[qk]_proj\.", name):
            tensor = tensor[rows].contiguous()
        named[name if name.startswith("down_projection.") else f"eva.{name}"] = tensor
    named["eva.pos_embed"] = _positions(encoder)
    return named


def _rows(encoder: Primus) -> Tensor:
    """Return which of our rows of a query stands where in theirs."""
    heads = encoder.channels[0] // encoder.head
    group = 2 * (encoder.head // 6)
    rows: list[int] = []
    for axis in (2, 1, 0):
        first = encoder.order.index(axis) * group
        rows += range(first, first + group)
    rows += range(3 * group, encoder.head)
    inside = torch.tensor(rows)
    return torch.cat([inside + head * encoder.head for head in range(heads)])


def _positions(encoder: Primus) -> Tensor:
    stored: Shape = tuple(encoder.grid[axis] for axis in encoder.order)
    here = tokens_to_map(encoder.pos_embed.detach(), stored)
    # the order is its own inverse: it swaps two axes or none
    straight = here.permute(0, 1, *(2 + axis for axis in encoder.order))
    return map_to_tokens(straight.permute(0, 1, 4, 3, 2)).contiguous()
