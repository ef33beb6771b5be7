"""What patients and scanners do to geometry; labels follow.

No transform here mirrors an axis unless it is named: left is not right, and front is not back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from medssl.errors import ConfigError
from medssl.transforms.base import Params, Transform
from medssl.transforms.draws import uniform

__all__ = ["Flip", "Rotate90"]


@dataclass(frozen=True, kw_only=True)
class Flip(Transform):
    """Mirror each named axis with chance one half.

    Axis 0 runs from left to right: mirrored, a liver is where a spleen should be. Name only axes
    along which the task can't tell the difference.

    Attributes:
        axes: Axes that may be mirrored, 0 being the first after the channels; none by default.
    """

    axes: tuple[int, ...] = ()

    is_spatial: ClassVar[bool] = True

    def is_idle(self) -> bool:
        """Say whether no axis is named, or the chance is 0."""
        return self.p == 0.0 or not self.axes

    def _draw(self, shape: torch.Size, generator: torch.Generator) -> Params:
        dims = len(shape) - 2
        if any(not 0 <= axis < dims for axis in self.axes):
            raise ConfigError(
                f"Flip: axes were {self.axes}; these images have axes 0 to {dims - 1}"
            )
        return {"mirrored": uniform((shape[0], len(self.axes)), 0.0, 1.0, generator) < 0.5}

    def _apply(self, images: Tensor, params: Params) -> Tensor:
        for number, axis in enumerate(self.axes):
            chosen = params["mirrored"][:, number].nonzero().flatten()
            if len(chosen):
                chosen = chosen.to(images.device, non_blocking=True)
                images = images.index_copy(0, chosen, images[chosen].flip(axis + 2))
        return images

    def _frames(self, shape: torch.Size, params: Params) -> Tensor:
        dims = len(shape) - 2
        frames = torch.eye(dims, dims + 1).repeat(shape[0], 1, 1)
        for number, axis in enumerate(self.axes):
            frames[:, axis, axis] = 1.0 - 2.0 * params["mirrored"][:, number].cpu()
        return frames


@dataclass(frozen=True, kw_only=True)
class Rotate90(Transform):
    """Turn a plane by none, one, two or three quarters.

    Attributes:
        plane: The two axes of the plane; edges of a patch along them must be equal.
    """

    plane: tuple[int, int] = (0, 1)

    is_spatial: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the plane.

        Raises:
            ConfigError: If its axes are the same.
        """
        super().__post_init__()
        if self.plane[0] == self.plane[1]:
            raise ConfigError(f"Rotate90: plane was {self.plane}; name two different axes")

    def _draw(self, shape: torch.Size, generator: torch.Generator) -> Params:
        dims = len(shape) - 2
        if any(not 0 <= axis < dims for axis in self.plane):
            raise ConfigError(
                f"Rotate90: plane was {self.plane}; these images have axes 0 to {dims - 1}"
            )
        edges = [shape[axis + 2] for axis in self.plane]
        if edges[0] != edges[1]:
            raise ConfigError(
                f"Rotate90: the plane {self.plane} of this patch has edges {tuple(edges)}, and a "
                "quarter turn needs equal ones; choose another plane or patch"
            )
        quarters = torch.randint(4, (shape[0],), generator=generator, device=generator.device)
        return {"quarters": quarters}

    def _apply(self, images: Tensor, params: Params) -> Tensor:
        plane = [axis + 2 for axis in self.plane]
        for quarters in (1, 2, 3):
            chosen = (params["quarters"] == quarters).nonzero().flatten()
            if len(chosen):
                chosen = chosen.to(images.device, non_blocking=True)
                turned = images[chosen].rot90(quarters, plane)
                images = images.index_copy(0, chosen, turned)
        return images

    def _frames(self, shape: torch.Size, params: Params) -> Tensor:
        dims = len(shape) - 2
        first, second = self.plane
        turns = params["quarters"].cpu() * (math.pi / 2.0)
        cosine, sine = turns.cos().round(), turns.sin().round()
        frames = torch.eye(dims, dims + 1).repeat(shape[0], 1, 1)
        frames[:, first, first], frames[:, second, second] = cosine, cosine
        frames[:, first, second], frames[:, second, first] = sine, -sine
        return frames
