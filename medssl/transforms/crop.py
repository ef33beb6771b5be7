"""Parts of an image, seen closer: crop and resize in one step, with known geometry.

Each axis is cut and resampled by a matrix of its own (:mod:`medssl.transforms.separable`), which is
exact for boxes, averages where voxels become larger, and runs at the speed of matrix products.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from medssl.errors import ConfigError
from medssl.transforms.base import Params, Transform
from medssl.transforms.draws import uniform
from medssl.transforms.separable import along_axes, nearest_places, resize_matrix

__all__ = ["CentreCrop", "CropResize"]


@dataclass(frozen=True, kw_only=True)
class CropResize(Transform):
    """Show a random box of each image, resampled to one size.

    Edges of the box are measured in edges of the image, so that a patch of thick slices keeps its
    proportions. The share of the image is kept exactly; where a long box would not fit, it is less
    long. All images change their size if ``size`` asks for it, those left alone as a whole.

    Attributes:
        scale: Smallest and largest share of the image's volume (of its area in 2D) in the box.
        aspect: Largest ratio of two edges of the box, at least 1.
        size: Voxels along each axis afterwards; None for those of the image.
        through_axis: An axis across thick slices, which is cut by itself; ``scale`` and ``aspect``
            are then of the plane of the others. None treats all axes alike.
        through_scale: Smallest and largest share of that axis; not used without one.
    """

    scale: tuple[float, float] = (0.3, 1.0)
    aspect: float = 1.33
    size: tuple[int, ...] | None = None
    through_axis: int | None = None
    through_scale: tuple[float, float] = (0.5, 1.0)

    neutral: ClassVar[Mapping[str, float]] = {"scale": 1.0, "aspect": 1.0, "through_scale": 1.0}
    is_spatial: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the shares.

        Raises:
            ConfigError: If a box would be larger than its image.
        """
        super().__post_init__()
        for field in ("scale", "through_scale"):
            if getattr(self, field)[1] > 1.0:
                raise ConfigError(
                    f"CropResize: {field} was {getattr(self, field)}; a box can't be larger than "
                    "its image, so shares end at 1"
                )
        if self.aspect < 1.0:
            raise ConfigError(
                f"CropResize: aspect was {self.aspect}; give the ratio of the longer edge to the "
                "shorter, which is at least 1"
            )

    def is_idle(self) -> bool:
        """Say whether no image will ever be changed; a size that is asked for is a change."""
        whole = self.scale == (1.0, 1.0) and (
            self.through_axis is None or self.through_scale == (1.0, 1.0)
        )
        return self.size is None and (self.p == 0.0 or whole)

    def out_shape(self, shape: Sequence[int]) -> torch.Size:
        """Return the shape with the edges that were asked for."""
        return torch.Size([*shape[:2], *_checked_size(self, self.size, shape)])

    def _draw(self, shape: torch.Size, generator: torch.Generator) -> Params:
        dims = len(shape) - 2
        _checked_size(self, self.size, shape)
        plane = [axis for axis in range(dims) if axis != self.through_axis]
        if self.through_axis is not None and (dims != 3 or len(plane) == dims):
            raise ConfigError(
                f"CropResize: through_axis was {self.through_axis}; these images have {dims} "
                "axes. Name one of three, or none"
            )
        edges = torch.ones(shape[0], dims, device=generator.device)
        edges[:, plane] = self._edges(shape[0], len(plane), generator)
        thickness = uniform(shape[0], *self.through_scale, generator)
        if self.through_axis is not None:
            edges[:, self.through_axis] = thickness
        free = uniform((shape[0], dims), 0.0, 1.0, generator)
        return {"start": free * (1.0 - edges), "edge": edges}

    def _edges(self, batch: int, axes: int, generator: torch.Generator) -> Tensor:
        """Return edges ``(B, axes)`` whose product is the share that was drawn."""
        size = torch.log(uniform(batch, *self.scale, generator))[:, None] / axes
        half = 0.5 * math.log(self.aspect)
        stretch = uniform((batch, axes), -half, half, generator)
        stretch = stretch - stretch.mean(dim=1, keepdim=True)
        # The longest edge that fits is that of the image: the logarithm of none is above 0.
        longest = stretch.amax(dim=1, keepdim=True).clamp(min=1e-12)
        return (size + stretch * (-size / longest).clamp(max=1.0)).exp().clamp(max=1.0)

    def boxes(self, params: Params) -> tuple[Tensor, Tensor]:
        """Return where boxes start and how long their edges are, in edges of the image.

        Args:
            params: As drawn.

        Returns:
            Two of ``(B, d)``, the whole image for images that are not active.
        """
        active = params["active"][:, None]
        start = torch.where(active, params["start"], 0.0)
        return start, torch.where(active, params["edge"], 1.0)

    def _on_active(self, x: Tensor, params: Params, *, is_label: bool) -> Tensor:
        start, edge = self.boxes(params)
        if self.out_shape(x.shape) != x.shape:
            # All images change their size, whether a box was drawn for them or not.
            params = {"active": torch.ones_like(params["active"]), "start": start, "edge": edge}
        return super()._on_active(x, params, is_label=is_label)

    def _apply(self, images: Tensor, params: Params) -> Tensor:
        matrices = [
            resize_matrix(start, edge, size, out)
            for start, edge, size, out in self._axes(images, params)
        ]
        return along_axes(images, matrices)

    def _apply_label(self, labels: Tensor, params: Params) -> Tensor:
        for axis, (start, edge, size, out) in enumerate(self._axes(labels, params), start=2):
            places = nearest_places(start, edge, size, out)
            view = [len(labels), *[1] * (labels.ndim - 1)]
            view[axis] = out
            labels = labels.take_along_dim(places.view(view), dim=axis)
        return labels

    def _axes(self, x: Tensor, params: Params) -> list[tuple[Tensor, Tensor, int, int]]:
        """Return for each axis start, edge, voxels before and voxels after."""
        start = params["start"].to(x.device, non_blocking=True).unbind(1)
        edge = params["edge"].to(x.device, non_blocking=True).unbind(1)
        return list(zip(start, edge, x.shape[2:], self.out_shape(x.shape)[2:], strict=True))

    def _frames(self, shape: torch.Size, params: Params) -> Tensor:  # noqa: ARG002
        start, edge = params["start"].cpu(), params["edge"].cpu()
        middle = 2.0 * start + edge - 1.0
        return torch.cat([torch.diag_embed(edge), middle.unsqueeze(2)], dim=2)


@dataclass(frozen=True, kw_only=True)
class CentreCrop(Transform):
    """Keep the middle: after a rotation of a larger crop, so that no border is smeared into view.

    Attributes:
        size: Voxels along each axis that are kept.
    """

    size: tuple[int, ...]

    is_spatial: ClassVar[bool] = True

    def scaled(self, strength: float) -> Self:  # noqa: ARG002
        """Return this transform: what is kept does not depend on how strong the others are."""
        return self

    def out_shape(self, shape: Sequence[int]) -> torch.Size:
        """Return the shape with the edges that are kept."""
        return torch.Size([*shape[:2], *_checked_size(self, self.size, shape)])

    def _draw(self, shape: torch.Size, generator: torch.Generator) -> Params:  # noqa: ARG002
        edges = self.out_shape(shape)[2:]
        if any(kept > size for kept, size in zip(edges, shape[2:], strict=True)):
            raise ConfigError(
                f"CentreCrop: size was {self.size}; these images are {tuple(shape[2:])}"
            )
        return {}

    def _apply(self, images: Tensor, params: Params) -> Tensor:  # noqa: ARG002
        for axis, kept in enumerate(self.size, start=2):
            images = images.narrow(axis, (images.shape[axis] - kept) // 2, kept)
        return images

    def _frames(self, shape: torch.Size, params: Params) -> Tensor:  # noqa: ARG002
        whole = torch.tensor(shape[2:], dtype=torch.float32)
        kept = torch.tensor(self.size, dtype=torch.float32)
        start = torch.div(whole - kept, 2.0, rounding_mode="floor")
        middle = (2.0 * start + kept) / whole - 1.0
        frame = torch.cat([torch.diag(kept / whole), middle[:, None]], dim=1)
        return frame.expand(shape[0], -1, -1)


def _checked_size(
    transform: Transform, size: tuple[int, ...] | None, shape: Sequence[int]
) -> tuple[int, ...]:
    """Return the edges of the result, having seen that they fit the images."""
    if size is None:
        return tuple(shape[2:])
    if len(size) != len(shape) - 2 or min(size) < 1:
        raise ConfigError(
            f"{type(transform).__name__}: size was {size}; these images have {len(shape) - 2} "
            "axes. Give a number of voxels, at least 1, for each"
        )
    return size
