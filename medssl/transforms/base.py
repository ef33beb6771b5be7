"""The contract of a random transform: parameters are drawn apart from being applied.

Drawing needs the shape of a batch and a generator; applying needs the batch and what was drawn, and
is then a plain function. Replay, tests and labels that follow their image come free of that.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, overload

import torch
from torch import Tensor

from medssl.errors import ConfigError

__all__ = ["Params", "Transform", "host_generator", "log_uniform", "per_voxel", "select", "uniform"]

FACTOR = 1.0
Params = dict[str, Tensor]
"""What was drawn: tensors whose first axis is the batch; ``"active"`` says who is transformed."""


@dataclass(frozen=True, kw_only=True)
class Transform(ABC):
    """Something done to each image of a batch with parameters of its own.

    Images are ``(B, C, X, Y, Z)`` or ``(B, C, X, Y)``, CT in [-1, 1] or MR in standard deviations,
    0 being the middle. A subclass is a frozen dataclass of primitives; it names in ``neutral`` the
    value at which each of its ranges changes nothing, and implements :meth:`_draw` and
    :meth:`_apply`.

    Attributes:
        p: Chance that an image is transformed, each image by itself.
        neutral: Fields that are a strength (a largest value, or a low and a high), with the value
            that leaves an image as it is: 0 for what is added, 1 for factors, which are drawn
            evenly on a logarithmic scale.
        is_spatial: Whether labels move too.
    """

    p: float = 1.0

    neutral: ClassVar[Mapping[str, float]] = {}
    is_spatial: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check what can be checked without an image, and say so if the transform does nothing.

        Raises:
            ConfigError: If a chance or a range makes no sense.
        """
        name = type(self).__name__
        if not 0.0 <= self.p <= 1.0:
            raise ConfigError(f"{name}: p was {self.p}; a chance lies between 0 and 1")
        for field, rest in self.neutral.items():
            values = self._range(field)
            if not all(math.isfinite(value) for value in values) or values[0] > values[-1]:
                raise ConfigError(
                    f"{name}: {field} was {getattr(self, field)}; give finite numbers, low first"
                )
            if rest == FACTOR and values[0] <= 0.0:
                raise ConfigError(
                    f"{name}: {field} was {getattr(self, field)}; a factor is greater than 0"
                )
        if self.is_idle():
            warnings.warn(f"{self} never changes an image; leave it out", stacklevel=3)

    def is_idle(self) -> bool:
        """Say whether no image will ever be changed."""
        at_rest = [
            all(value == rest for value in self._range(field))
            for field, rest in self.neutral.items()
        ]
        return self.p == 0.0 or (bool(at_rest) and all(at_rest))

    def scaled(self, strength: float) -> Self:
        """Return this transform with its ranges moved towards, or past, the point of no effect.

        Args:
            strength: 0 changes nothing, 1 is this transform, 2 is twice as strong. A transform
                without a range (a flip) acts that much more or less often.
        """
        if not self.neutral:
            return dataclasses.replace(self, p=min(1.0, self.p * strength))
        changed: dict[str, Any] = {}  # the fields of subclasses
        for field, rest in self.neutral.items():
            values = tuple(_scale(value, rest, strength) for value in self._range(field))
            changed[field] = values if isinstance(getattr(self, field), tuple) else values[0]
        return dataclasses.replace(self, **changed)

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Params:
        """Draw the parameters for a batch.

        Args:
            shape: Shape of the batch, ``(B, C, X, Y, Z)`` or ``(B, C, X, Y)``.
            generator: Where the randomness comes from.

        Returns:
            Tensors with the batch as first axis, on the generator's device.

        Raises:
            ConfigError: If the transform does not fit images of that shape.
        """
        _check_ndim(shape)
        active = uniform(shape[0], 0.0, 1.0, generator) < self.p
        return {"active": active, **self._draw(torch.Size(shape), generator)}

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Return the images transformed as was drawn; shape, dtype and device are kept.

        Computed in float32, whatever the surrounding precision: coordinates do not fit 8 bits.
        """
        with torch.autocast(images.device.type, enabled=False):
            return self._on_active(images, params, is_label=False)

    def apply_label(self, labels: Tensor, params: Params) -> Tensor:
        """Return the labels ``(B, L, X, Y, Z)`` moved with their images; values are never mixed."""
        if not self.is_spatial:
            return labels
        with torch.autocast(labels.device.type, enabled=False):
            return self._on_active(labels, params, is_label=True)

    @overload
    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor: ...

    @overload
    def __call__(
        self, images: Tensor, generator: torch.Generator, label: Tensor
    ) -> tuple[Tensor, Tensor]: ...

    def __call__(
        self, images: Tensor, generator: torch.Generator, label: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Draw and apply in one go.

        Args:
            images: ``(B, C, X, Y, Z)`` or ``(B, C, X, Y)``.
            generator: Where the randomness comes from.
            label: ``(B, L, X, Y, Z)`` integers that belong to the images.

        Returns:
            The images, or images and labels if labels were given.
        """
        params = self.draw(images.shape, host_generator(generator))
        transformed = self.apply(images, params)
        return transformed if label is None else (transformed, self.apply_label(label, params))

    @abstractmethod
    def _draw(self, shape: torch.Size, generator: torch.Generator) -> Params:
        """Return what this transform needs for each image of the batch."""

    @abstractmethod
    def _apply(self, images: Tensor, params: Params) -> Tensor:
        """Return transformed images; all of them are active, in float32."""

    def _apply_label(self, labels: Tensor, params: Params) -> Tensor:
        """Return moved labels; the same as images for transforms that only reorder voxels."""
        return self._apply(labels, params)

    def _on_active(self, x: Tensor, params: Params, *, is_label: bool) -> Tensor:
        """Transform the images that were chosen and leave the others as they are."""
        _check_ndim(x.shape)
        active = params["active"]
        if len(active) != len(x):
            raise ValueError(
                f"parameters were drawn for {len(active)} images and applied to {len(x)}; draw "
                "them for the batch they are applied to"
            )
        chosen = active.nonzero().flatten()
        if len(chosen) == 0:
            return x
        mine = select({key: value for key, value in params.items() if key != "active"}, chosen)
        where = chosen.to(x.device)
        part = x if len(chosen) == len(x) else x[where]
        if is_label:
            changed = self._apply_label(part, mine)
        else:
            changed = self._apply(part.float(), mine).to(x.dtype)
        return changed if len(chosen) == len(x) else x.index_copy(0, where, changed)

    def _range(self, field: str) -> tuple[float, ...]:
        value: float | tuple[float, ...] = getattr(self, field)
        return tuple(value) if isinstance(value, tuple) else (value,)


def select(params: Params, index: Tensor) -> Params:
    """Return the parameters of some images of a batch.

    Args:
        params: As drawn for a batch.
        index: Numbers of the images.
    """
    return {key: value[index.to(value.device)] for key, value in params.items()}


def uniform(
    size: int | tuple[int, ...], low: float, high: float, generator: torch.Generator
) -> Tensor:
    """Draw float32 numbers between ``low`` and ``high`` on the generator's device."""
    shape = (size,) if isinstance(size, int) else size
    unit = torch.rand(shape, generator=generator, device=generator.device)
    return low + (high - low) * unit


def log_uniform(
    size: int | tuple[int, ...], low: float, high: float, generator: torch.Generator
) -> Tensor:
    """Draw factors between ``low`` and ``high``, as often halved as doubled."""
    return uniform(size, math.log(low), math.log(high), generator).exp()


def per_voxel(values: Tensor, images: Tensor) -> Tensor:
    """Shape one number an image, or ``(B, C)``, so that it meets every voxel of the images."""
    lined_up = values.to(images.device, non_blocking=True)
    return lined_up.reshape(*lined_up.shape, *[1] * (images.ndim - lined_up.ndim))


def host_generator(generator: torch.Generator) -> torch.Generator:
    """Return a generator on the CPU, fed by ``generator`` if that lives on another device.

    Parameters are a few numbers an image: drawn on the host they cost one wait for the device a
    call, in place of one for each decision that depends on them.
    """
    if generator.device.type == "cpu":
        return generator
    seed = torch.randint(2**62, (1,), generator=generator, device=generator.device)
    return torch.Generator().manual_seed(int(seed))


def _scale(value: float, rest: float, strength: float) -> float:
    if rest == FACTOR:
        return float(value**strength)
    return rest + strength * (value - rest)


def _check_ndim(shape: Sequence[int]) -> None:
    if len(shape) not in (4, 5):
        raise ValueError(
            "a transform takes images (B, C, X, Y, Z) or (B, C, X, Y); "
            f"the shape was {tuple(shape)}"
        )
