"""Transforms one after another, or one of several."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import torch
from torch import Tensor

from medssl.errors import ConfigError
from medssl.transforms.base import Params, Transform, per_voxel
from medssl.transforms.frames import compose_frames

__all__ = ["Compose", "OneOf"]


@dataclass(frozen=True, kw_only=True)
class Compose(Transform):
    """Several transforms in the order given, each with draws of its own.

    Parameters of the n-th transform are called ``"n.name"``.

    Attributes:
        transforms: What to do, first to last; an empty tuple is the identity.

    Example:
        >>> from medssl.transforms.intensity import Brightness, Noise
        >>> augment = Compose((Brightness(), Noise(p=0.2)))
        >>> augment(torch.zeros(2, 1, 8, 8, 8), torch.Generator().manual_seed(0)).shape
        torch.Size([2, 1, 8, 8, 8])
    """

    transforms: tuple[Transform, ...] = field(default=(), kw_only=False)

    is_spatial: ClassVar[bool] = True

    def is_idle(self) -> bool:
        """Say whether images never change; an empty composition is meant, so it is not idle."""
        return self.p == 0.0

    def scaled(self, strength: float) -> Self:
        """Return the composition of the scaled transforms; at strength 0 there are none."""
        if strength == 0.0:
            return dataclasses.replace(self, transforms=())
        return dataclasses.replace(
            self, transforms=tuple(part.scaled(strength) for part in self.transforms)
        )

    def out_shape(self, shape: Sequence[int]) -> torch.Size:
        """Return the shape after the last transform."""
        for part in self.transforms:
            shape = part.out_shape(shape)
        return torch.Size(shape)

    def mask(
        self, shape: Sequence[int], params: Params, device: torch.device | str = "cpu"
    ) -> Tensor:
        """Return which voxels a member overwrote, moved along by the members after it."""
        hidden = torch.zeros(shape[0], 1, *shape[2:], dtype=torch.bool, device=device)
        for part, mine in self._parts(params):
            hidden = part.apply_label(hidden, mine) | part.mask(shape, mine, device)
            shape = part.out_shape(shape)
        active = params["active"].to(device, non_blocking=True)
        return hidden & active.view(-1, *[1] * (hidden.ndim - 1))

    def _draw(self, shape: torch.Size, generator: torch.Generator) -> Params:
        params: Params = {}
        for number, part in enumerate(self.transforms):
            drawn = part.draw(shape, generator)
            params.update({f"{number}.{key}": value for key, value in drawn.items()})
            shape = part.out_shape(shape)
        return params

    def _on_active(self, x: Tensor, params: Params, *, is_label: bool) -> Tensor:
        """Let each member see the whole batch, for some mix images that are far apart in it."""
        active = params["active"]
        changed = x if is_label else x.float()
        for part, mine in self._parts(params):
            mine["active"] = mine["active"] & active
            apply = part.apply_label if is_label else part.apply
            changed = apply(changed, mine)
        changed = changed.to(x.dtype)
        if bool(active.all()):
            return changed
        if changed.shape != x.shape:
            raise ConfigError(
                f"{type(self).__name__}: p was {self.p} and images change their size, so that "
                "those left alone would not fit beside them; set p to 1"
            )
        return torch.where(per_voxel(active, x), changed, x)

    def _apply(self, images: Tensor, params: Params) -> Tensor:
        everyone = torch.ones(len(images), dtype=torch.bool)
        return self._on_active(images, {**params, "active": everyone}, is_label=False)

    def _frames(self, shape: torch.Size, params: Params) -> Tensor:
        dims = len(shape) - 2
        total = torch.eye(dims, dims + 1).expand(shape[0], -1, -1)
        for part, mine in self._parts(params):
            total = compose_frames(total, part.frames(shape, mine))
            shape = part.out_shape(shape)
        return total

    def _parts(self, params: Params) -> Iterator[tuple[Transform, Params]]:
        for number, part in enumerate(self.transforms):
            prefix = f"{number}."
            yield (
                part,
                {k.removeprefix(prefix): v for k, v in params.items() if k.startswith(prefix)},
            )


@dataclass(frozen=True, kw_only=True)
class OneOf(Compose):
    """One of several transforms for each image, drawn by weight.

    Attributes:
        weights: How often each is chosen, relative to the others; None is equally often.

    Example:
        >>> from medssl.transforms.intensity import Brightness, Noise
        >>> augment = OneOf((Brightness(), Noise()), weights=(1.0, 3.0), p=0.8)
        >>> augment(torch.zeros(2, 1, 8, 8), torch.Generator().manual_seed(0)).shape
        torch.Size([2, 1, 8, 8])
    """

    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Check the weights.

        Raises:
            ConfigError: If there is none for each transform, or they can't be chances.
        """
        super().__post_init__()
        weights = self.weights
        if weights is None:
            return
        if len(weights) != len(self.transforms) or min(weights) < 0.0 or sum(weights) <= 0.0:
            raise ConfigError(
                f"OneOf: weights were {weights} for {len(self.transforms)} transforms; give one "
                "for each, none below 0 and not all of them 0"
            )

    def scaled(self, strength: float) -> Self:
        """Return the choice between the scaled transforms; at strength 0 there are none."""
        if strength == 0.0:
            return dataclasses.replace(self, transforms=(), weights=None)
        return super().scaled(strength)

    def _draw(self, shape: torch.Size, generator: torch.Generator) -> Params:
        params = super()._draw(shape, generator)
        if not self.transforms:
            return params
        device = generator.device
        weights = torch.tensor(self.weights or [1.0] * len(self.transforms), device=device)
        choice = torch.multinomial(weights, shape[0], replacement=True, generator=generator)
        for number in range(len(self.transforms)):
            params[f"{number}.active"] = params[f"{number}.active"] & (choice == number)
        return params
