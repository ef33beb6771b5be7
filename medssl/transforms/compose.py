"""Transforms one after another."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Self

import torch
from torch import Tensor

from medssl.transforms.base import Params, Transform

__all__ = ["Compose"]


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

    def _draw(self, shape: torch.Size, generator: torch.Generator) -> Params:
        return {
            f"{number}.{key}": value
            for number, part in enumerate(self.transforms)
            for key, value in part.draw(shape, generator).items()
        }

    def _apply(self, images: Tensor, params: Params) -> Tensor:
        for part, mine in self._parts(params):
            images = part.apply(images, mine)
        return images

    def _apply_label(self, labels: Tensor, params: Params) -> Tensor:
        for part, mine in self._parts(params):
            labels = part.apply_label(labels, mine)
        return labels

    def _parts(self, params: Params) -> Iterator[tuple[Transform, Params]]:
        for number, part in enumerate(self.transforms):
            prefix = f"{number}."
            yield (
                part,
                {k.removeprefix(prefix): v for k, v in params.items() if k.startswith(prefix)},
            )
