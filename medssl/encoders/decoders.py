"""From maps of features back to voxels: for segmentation and for masked modelling.

Decoders know an encoder by its channels and strides alone, so any encoder takes part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.encoders.base import Encoder
from medssl.encoders.convolution import (
    CONV,
    SLOPE,
    TRANSPOSED_CONV,
    ConvBlock,
    InstanceNorm,
    lay_out,
)
from medssl.encoders.token_decoder import TokenDecoder
from medssl.errors import ConfigError
from medssl.types import Shape

__all__ = ["LightDecoder", "TokenDecoder", "UNetDecoder", "plan_levels"]

WIDEST = 320
"""Channels that no level exceeds, as in nnU-Net."""


def plan_levels(strides: Sequence[Shape]) -> dict[Shape, list[int]]:
    """Say at which resolution a decoder takes each map.

    A map is taken where it is. Of several maps at one stride, as transformers have them, the
    deepest stays and each shallower one is lifted a step further towards the next finer map, as in
    UNETR. Steps in between without a map, and full resolution, are levels too.

    Args:
        strides: Of each map, finest or shallowest first.

    Returns:
        The maps of each level, by the stride of the level, finest first.

    Raises:
        ConfigError: If a stride is no multiple of the one before.

    Example:
        >>> plan_levels([(16, 16), (16, 16), (16, 16), (16, 16)])
        {(1, 1): [], (2, 2): [0], (4, 4): [1], (8, 8): [2], (16, 16): [3]}
    """
    full = (1,) * len(strides[0])
    levels: dict[Shape, list[int]] = {full: []}
    finer = full
    for stride, group in groupby(range(len(strides)), key=lambda i: strides[i]):
        steps = _steps(stride, finer)
        for step in steps:
            levels.setdefault(step, [])
        for lift, index in enumerate(reversed(list(group))):
            levels[steps[min(lift, len(steps) - 1)]].insert(0, index)
        finer = stride
    return dict(sorted(levels.items(), key=lambda level: math.prod(level[0])))


def _steps(stride: Shape, finer: Shape) -> list[Shape]:
    """Return the strides from ``stride`` to just before ``finer``, each a small step."""
    if any(coarse % fine for coarse, fine in zip(stride, finer, strict=True)):
        raise ConfigError(
            f"maps at strides {finer} and {stride} follow each other; a decoder needs each stride "
            "to be a multiple of the one before"
        )
    steps = [stride]
    while True:
        stride = tuple(
            coarse // _smallest_factor(coarse // fine)
            for coarse, fine in zip(stride, finer, strict=True)
        )
        if stride == finer or stride == steps[-1]:
            return steps
        steps.append(stride)


def _smallest_factor(number: int) -> int:
    return next((n for n in range(2, number + 1) if number % n == 0), 1)


class Lift(nn.Module):
    """A transposed convolution that multiplies the resolution; odd edges are cut at the far end."""

    def __init__(
        self, coarse: Shape, fine: Shape, in_channels: int, out_channels: int, *, active: bool
    ) -> None:
        super().__init__()
        ratio = tuple(a // b for a, b in zip(coarse, fine, strict=True))
        self.conv = TRANSPOSED_CONV[len(ratio)](
            in_channels,
            out_channels,
            ratio,  # type: ignore[arg-type]  # as many numbers as dims
            stride=ratio,  # type: ignore[arg-type]
        )
        self.norm = InstanceNorm(out_channels) if active else None
        self.fine = fine

    def forward(self, x: Tensor, shape: Shape) -> Tensor:
        """Return ``(B, out_channels, …)`` for an image of ``shape`` voxels."""
        x = self.conv(x)
        for axis, (voxels, stride) in enumerate(zip(shape, self.fine, strict=True), start=2):
            x = x.narrow(axis, 0, -(-voxels // stride))
        return x if self.norm is None else F.leaky_relu(self.norm(x), SLOPE, inplace=True)


class Pyramid(nn.Module):
    """The way up of a U-Net, over the levels that :func:`plan_levels` finds.

    Args:
        encoder: Whose maps come in.
        width: Channels at full resolution; they double a level, up to 320.
        skips: Whether levels above the coarsest take their maps.
        image: Whether full resolution sees the image itself where no map does.
    """

    def __init__(self, encoder: Encoder, *, width: int, skips: bool, image: bool) -> None:
        super().__init__()
        plan = plan_levels(encoder.strides)
        if len(plan) < 2:
            raise ConfigError(
                "the encoder has maps at full resolution only; a decoder needs a coarser one too"
            )
        self.strides = tuple(plan)
        self.taken = list(plan.values())
        if not skips:
            self.taken[:-1] = [[] for _ in self.taken[:-1]]
        widths = [min(width * 2**level, WIDEST) for level in range(len(plan))]
        self.widths = tuple(widths[:-1])
        dims = encoder.spatial_dims
        self.lifts = nn.ModuleDict()
        joined = list(widths)
        joined[-1] = sum(encoder.channels[i] for i in self.taken[-1])
        for level, indices in enumerate(self.taken[:-1]):
            for index in indices:
                steps = self.strides[level : self.strides.index(encoder.strides[index]) + 1]
                channels = encoder.channels[index]
                if len(steps) > 1:
                    self.lifts[str(index)] = _lift(steps, channels, widths[level:])
                    channels = widths[level]
                joined[level] += channels
        self.stem = None
        if image and not plan[self.strides[0]]:
            self.stem = ConvBlock(dims, encoder.in_channels, width)
            joined[0] += width
        below = [*widths[1:-1], joined[-1]]
        self.ups = nn.ModuleList(
            Lift(coarse, fine, below[i], widths[i], active=False)
            for i, (fine, coarse) in enumerate(pairwise(self.strides))
        )
        self.blocks = nn.ModuleList(
            ConvBlock(dims, joined[i], widths[i]) for i in range(len(widths) - 1)
        )

    def forward(self, maps: Sequence[Tensor], shape: Shape, image: Tensor | None) -> list[Tensor]:
        """Return the features of each level but the coarsest, finest first.

        Args:
            maps: What the encoder returned.
            shape: Voxels of the image along each axis.
            image: The image, where full resolution sees it.
        """
        x = torch.cat([lay_out(maps[i]) for i in self.taken[-1]], dim=1)
        features: list[Tensor] = []
        for level in reversed(range(len(self.blocks))):
            parts = [self.ups[level](x, shape)]
            parts += [self._lifted(maps[index], index, shape) for index in self.taken[level]]
            if level == 0 and self.stem is not None and image is not None:
                parts.append(self.stem(lay_out(image)))
            x = self.blocks[level](torch.cat(parts, dim=1) if len(parts) > 1 else parts[0])
            features.insert(0, x)
        return features

    def _lifted(self, features: Tensor, index: int, shape: Shape) -> Tensor:
        features = lay_out(features)
        if str(index) in self.lifts:
            for step in cast(nn.ModuleList, self.lifts[str(index)]):
                features = step(features, shape)
        return features


def _lift(strides: Sequence[Shape], channels: int, widths: Sequence[int]) -> nn.ModuleList:
    """Return the steps that bring a map from the last of ``strides`` to the first."""
    steps = nn.ModuleList()
    for (fine, coarse), width in reversed(list(zip(pairwise(strides), widths, strict=False))):
        steps.append(Lift(coarse, fine, channels, width, active=True))
        channels = width
    return steps


def _usual_width(encoder: Encoder) -> int:
    """Return the channels of the finest map, at most 32 where full resolution lies above it."""
    return encoder.channels[0] if max(encoder.strides[0]) == 1 else min(32, encoder.channels[0])


class UNetDecoder(nn.Module):
    """A U-Net's way up over any encoder: one convolution a level, as nnU-Net's residual U-Net.

    Transformer maps at one stride are lifted as in UNETR; where the finest map is coarser than the
    image, full resolution gets one convolution of the image itself.

    Args:
        encoder: Whose maps come in.
        out_channels: Classes.
        deep_supervision: Whether every level but the coarsest answers, not the finest alone.
        width: Channels at full resolution, doubling a level up to 320; by default those of the
            encoder's finest map, or 32 if that one is coarser than the image and wider.

    Attributes:
        strides: Of each answer, finest first.

    Example:
        >>> from medssl.encoders import build_encoder
        >>> encoder = build_encoder("resenc_s", features=(4, 8, 8), blocks=(1, 1, 1))
        >>> decoder = UNetDecoder(encoder, 3, deep_supervision=True)
        >>> x = torch.zeros(1, 1, 16, 16, 12)
        >>> [tuple(logits.shape) for logits in decoder(encoder(x), x)]
        [(1, 3, 16, 16, 12), (1, 3, 8, 8, 6)]
    """

    def __init__(
        self,
        encoder: Encoder,
        out_channels: int,
        *,
        deep_supervision: bool = False,
        width: int | None = None,
    ) -> None:
        super().__init__()
        width = _usual_width(encoder) if width is None else width
        self.pyramid = Pyramid(encoder, width=width, skips=True, image=True)
        widths = self.pyramid.widths if deep_supervision else self.pyramid.widths[:1]
        self.strides = self.pyramid.strides[: len(widths)]
        self.heads = nn.ModuleList(
            CONV[encoder.spatial_dims](channels, out_channels, 1) for channels in widths
        )

    def forward(self, maps: Sequence[Tensor], image: Tensor) -> list[Tensor]:
        """Return ``(B, out_channels, …)`` logits, full resolution first.

        Args:
            maps: What the encoder returned for ``image``.
            image: ``(B, C, X, Y, Z)`` or ``(B, C, X, Y)``.
        """
        features = self.pyramid(maps, tuple(image.shape[2:]), image)
        return [head(x) for head, x in zip(self.heads, features, strict=False)]


class LightDecoder(nn.Module):
    """Rebuilds an image from maps alone, for masked modelling; half as wide as a U-Net's.

    It never sees the image, so that nothing hidden can reach the answer.

    Args:
        encoder: Whose maps come in.
        out_channels: Channels of the answer.
        skips: Whether the finer maps come in too; without them all must pass the coarsest.
        width: Channels at full resolution, doubling a level up to 320.
    """

    def __init__(
        self, encoder: Encoder, out_channels: int, *, skips: bool = True, width: int | None = None
    ) -> None:
        super().__init__()
        width = max(4, _usual_width(encoder) // 2) if width is None else width
        self.pyramid = Pyramid(encoder, width=width, skips=skips, image=False)
        self.head = CONV[encoder.spatial_dims](width, out_channels, 1)
        self.finest = encoder.strides[0]

    def forward(self, maps: Sequence[Tensor], shape: Shape | None = None) -> Tensor:
        """Return ``(B, out_channels, X, Y, Z)`` or ``(B, out_channels, X, Y)``.

        Args:
            maps: What the encoder returned.
            shape: Voxels of the image; by default as many as the finest map covers.
        """
        if shape is None:
            sizes = zip(maps[0].shape[2:], self.finest, strict=True)
            shape = tuple(size * stride for size, stride in sizes)
        image: Tensor = self.head(self.pyramid(maps, shape, None)[0])
        return image
