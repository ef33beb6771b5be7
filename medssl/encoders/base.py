"""The one contract that methods and tasks know of an encoder."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from medssl.encoders.narrow import guard_convolutions
from medssl.errors import ConfigError
from medssl.registry import Registry, nearest

__all__ = [
    "ENCODERS",
    "Encoder",
    "Variant",
    "build_encoder",
    "list_encoders",
    "register_variants",
    "upsample_mask",
]

Strides = tuple[tuple[int, ...], ...]


class Encoder(nn.Module):
    """A network that turns a batch of images into maps of features, finest first.

    Input is ``(B, C, X, Y, Z)`` or ``(B, C, X, Y)``; map ``i`` is
    ``(B, channels[i], ceil(X / strides[i][0]), …)``.
    Any input size is accepted; what a family can't split evenly it pads at the far end.

    Attributes:
        drops_tokens: Whether ``forward_masked`` spends no work on hidden parts.
        spatial_dims: 2 or 3.
        in_channels: Channels of the input.
        channels: Channels of each map.
        strides: Cumulative stride of each map along each axis, in voxels.
        config: The keyword arguments that rebuild this encoder, primitives only.
    """

    drops_tokens: ClassVar[bool] = False
    name: str
    spatial_dims: int
    in_channels: int
    channels: tuple[int, ...]
    strides: Strides
    config: dict[str, Any]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the maps of features, finest first."""
        raise NotImplementedError

    def forward_masked(self, x: Tensor, hidden: Tensor) -> list[Tensor]:
        """Return the maps computed from the visible part of ``x`` alone.

        Nothing inside a hidden cell may influence any output. Families that drop tokens return
        zeros at hidden places; dense families see zeros there, the middle of the intensity range.

        Args:
            x: ``(B, C, X, Y, Z)``.
            hidden: ``(B, gx, gy, gz)``, True where hidden, on a grid of cells that tile ``x``.
        """
        return self.forward(x.masked_fill(upsample_mask(hidden, tuple(x.shape[2:])), 0.0))

    def embed(self, x: Tensor) -> Tensor:
        """Return one vector an image, ``(B, channels[-1])``: the mean of the coarsest map."""
        return self.forward(x)[-1].flatten(2).mean(dim=2)

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return options that make the smallest member of the family that still has every part.

        Tests and dry runs build it; its features are of no use.
        """
        return {}

    def __call__(self, *args: Any, **kwargs: Any) -> list[Tensor]:
        """Do what :meth:`forward` does, with a type."""
        return cast("list[Tensor]", super().__call__(*args, **kwargs))


def upsample_mask(mask: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Repeat a mask on a coarse grid to voxels, ``(B, 1, *shape)``.

    Raises:
        ValueError: If the grid does not tile the shape.

    Example:
        >>> import torch
        >>> upsample_mask(torch.ones(1, 2, 2, 2, dtype=torch.bool), (8, 8, 4)).shape
        torch.Size([1, 1, 8, 8, 4])
    """
    grid = tuple(mask.shape[1:])
    if len(grid) != len(shape) or any(s % g for s, g in zip(shape, grid, strict=True)):
        raise ValueError(f"a mask grid of {grid} cells does not tile an image of {shape} voxels")
    for axis, (size, cells) in enumerate(zip(shape, grid, strict=True), start=1):
        mask = mask.repeat_interleave(size // cells, dim=axis)
    return mask.unsqueeze(1)


@dataclass(frozen=True)
class Variant:
    """A named member of a family: its class and the arguments that the name fixes.

    Attributes:
        family: The class; it takes ``(*, spatial_dims, in_channels, patch, …)``, all with defaults.
        preset: Keyword arguments that the name stands for; a user does not set them.
    """

    family: type[Encoder]
    preset: Mapping[str, Any]


ENCODERS: Registry[Variant] = Registry("encoder")


def register_variants(**presets: Mapping[str, Any]) -> Callable[[type[Encoder]], type[Encoder]]:
    """Return a decorator that files a family's class under each of its names."""

    def add(family: type[Encoder]) -> type[Encoder]:
        for name, preset in presets.items():
            ENCODERS.register(name)(Variant(family, preset))
        return family

    return add


def build_encoder(name: str, **config: Any) -> Encoder:
    """Build the encoder that a user names.

    Args:
        name: One of :func:`list_encoders`.
        **config: Options of that encoder's class, primitives only.

    Raises:
        UnknownNameError: If no encoder has that name.
        ConfigError: If the class has no such option, or the images are neither planar nor volumes.

    Example:
        >>> encoder = build_encoder("resenc_s", spatial_dims=2, patch=(64, 64))
        >>> encoder.channels
        (16, 32, 64, 128, 192)
    """
    variant = ENCODERS[name]
    known = set(inspect.signature(variant.family).parameters)
    for option in config:
        if option not in known:
            raise ConfigError(
                f'encoder "{name}" has no option "{option}"; {nearest(option, known)}'
            )
    if config.get("spatial_dims", 3) not in (2, 3) or config.get("in_channels", 1) < 1:
        raise ConfigError(
            f"an encoder of {config.get('spatial_dims', 3)}D images with "
            f"{config.get('in_channels', 1)} channels was asked for; spatial_dims must be 2 or 3 "
            "and in_channels at least 1"
        )
    encoder = variant.family(**{**variant.preset, **config})
    guard_convolutions(encoder)
    encoder.name = name
    encoder.config = dict(config)
    return encoder


def list_encoders() -> list[str]:
    """Return the names of all encoders."""
    return list(ENCODERS)
