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
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Self, overload

import torch
from torch import Tensor

from medssl.errors import ConfigError
from medssl.transforms.draws import host_generator, uniform

__all__ = ["Params", "Transform", "per_voxel", "select"]

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
        mixes_batch: Whether an image becomes part of another of its batch, so that parameters hold
            for the whole batch alone.
    """

    p: float = 1.0

    neutral: ClassVar[Mapping[str, float]] = {}
    is_spatial: ClassVar[bool] = False
    mixes_batch: ClassVar[bool] = False

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

    def out_shape(self, shape: Sequence[int]) -> torch.Size:
        """Return the shape that images of a shape have afterwards; most transforms keep it."""
        return torch.Size(shape)

    def frames(self, shape: Sequence[int], params: Params) -> Tensor:
        """Return from where in the input each place was read, ``(B, d, d + 1)``, on the host.

        Places are measured from the middle of an image and run from -1 to 1 between its outer
        faces, axis by axis: ``input = frame[:, :, :d] @ output + frame[:, :, d]``. What relates
        two views of one crop follows from their frames (:mod:`medssl.transforms.frames`).

        Args:
            shape: Shape of the images before the transform.
            params: As drawn.

        Raises:
            ConfigError: If the transform moves each voxel its own way.
        """
        dims = len(shape) - 2
        rest = torch.eye(dims, dims + 1).expand(len(params["active"]), -1, -1)
        if not self.is_spatial:
            return rest
        active = params["active"].cpu()[:, None, None]
        return torch.where(active, self._frames(torch.Size(shape), params), rest)

    def mask(
        self, shape: Sequence[int], params: Params, device: torch.device | str = "cpu"
    ) -> Tensor:
        """Return where voxels were overwritten or displaced by a corruption, ``(B, 1, X, Y, Z)``.

        Args:
            shape: Shape of the images before the transform.
            params: As drawn.
            device: Where the mask is wanted.
        """
        out = self.out_shape(shape)
        active = params["active"].to(device, non_blocking=True)
        changed = self._mask(out, params, torch.device(device))
        return changed & active.view(-1, *[1] * (len(out) - 1))

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
        _check_batch(images, params)
        with _full_precision(images.device):
            return self._on_active(images, params, is_label=False)

    def apply_label(self, labels: Tensor, params: Params) -> Tensor:
        """Return the labels ``(B, L, X, Y, Z)`` moved with their images; values are never mixed."""
        if not self.is_spatial:
            return labels
        _check_batch(labels, params)
        with _full_precision(labels.device):
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

    def _mask(self, shape: torch.Size, params: Params, device: torch.device) -> Tensor:  # noqa: ARG002
        """Return the mask of all images as if all were active; most transforms hide nothing."""
        return torch.zeros(shape[0], 1, *shape[2:], dtype=torch.bool, device=device)

    def _frames(self, shape: torch.Size, params: Params) -> Tensor:  # noqa: ARG002
        """Return the frames of all images as if all were active."""
        raise ConfigError(
            f"{type(self).__name__} moves each voxel its own way, so no matrix tells where a view "
            "lies; leave it out of views that are related to each other in space"
        )

    def _on_active(self, x: Tensor, params: Params, *, is_label: bool) -> Tensor:
        """Transform the images that were chosen and leave the others as they are."""
        chosen = params["active"].nonzero().flatten()
        if len(chosen) == 0:
            return x
        mine = select({key: value for key, value in params.items() if key != "active"}, chosen)
        where = chosen.to(x.device, non_blocking=True)
        part = x if len(chosen) == len(x) else x[where]
        if is_label:
            changed = self._apply_label(part, mine)
        else:
            changed = self._apply(part.float(), mine).to(x.dtype)
        if len(chosen) == len(x):
            return changed
        if changed.shape[1:] != x.shape[1:]:
            raise ConfigError(
                f"{type(self).__name__}: p was {self.p} and images change their size, so that "
                "those left alone would not fit beside them; set p to 1"
            )
        return x.index_copy(0, where, changed)

    def _range(self, field: str) -> tuple[float, ...]:
        value: float | tuple[float, ...] = getattr(self, field)
        return tuple(value) if isinstance(value, tuple) else (value,)


def select(params: Params, index: Tensor) -> Params:
    """Return the parameters of some images of a batch.

    Args:
        params: As drawn for a batch.
        index: Numbers of the images.
    """
    return {key: value[index.to(value.device, non_blocking=True)] for key, value in params.items()}


def per_voxel(values: Tensor, images: Tensor) -> Tensor:
    """Shape one number an image, or ``(B, C)``, so that it meets every voxel of the images."""
    lined_up = values.to(images.device, non_blocking=True)
    return lined_up.reshape(*lined_up.shape, *[1] * (images.ndim - lined_up.ndim))


def _scale(value: float, rest: float, strength: float) -> float:
    if rest == FACTOR:
        return float(value**strength)
    return rest + strength * (value - rest)


def _full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Return what keeps surrounding autocast out, on devices that have such a thing."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def _check_batch(x: Tensor, params: Params) -> None:
    """See that parameters were drawn for such a batch.

    Raises:
        ValueError: If they were not.
    """
    _check_ndim(x.shape)
    drawn = len(params["active"])
    # A part of a batch has lost the partners of its images.
    if drawn != len(x) or ("partner" in params and int(params["partner"].max()) >= drawn):
        raise ValueError(
            f"parameters were drawn for {drawn} images and applied to {len(x)}; draw them for the "
            "batch they are applied to"
        )


def _check_ndim(shape: Sequence[int]) -> None:
    if len(shape) not in (4, 5):
        raise ValueError(
            "a transform takes images (B, C, X, Y, Z) or (B, C, X, Y); "
            f"the shape was {tuple(shape)}"
        )
