"""Smooth changes of pose and shape: one resampling each, however much is changed."""

from __future__ import annotations

import dataclasses
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.errors import ConfigError
from medssl.transforms.base import Params, Transform
from medssl.transforms.draws import log_uniform, uniform
from medssl.transforms.separable import smooth_field, spline_knots

__all__ = ["Affine", "Deform", "Elastic", "Warp"]

# Control points that move at most this share of their distance can't fold a cubic B-spline over
# (Choi and Lee 2000, doi:10.1006/gmip.1999.0514: 0.40 in 3D, 0.48 in 2D).
FOLD_LIMIT = 0.4


@dataclass(frozen=True, kw_only=True)
class Warp(Transform):
    """A transform that reads each voxel from somewhere else.

    Images are interpolated linearly, labels are taken from the nearest voxel. What lies outside the
    image is continued from its border, label and image alike.
    """

    is_spatial: ClassVar[bool] = True

    @abstractmethod
    def _sources(self, shape: torch.Size, params: Params, device: torch.device) -> Tensor:
        """Return where each voxel comes from, ``(B, X, Y, Z, 3)`` as ``grid_sample`` wants it.

        Places run from -1 to 1 between the outer faces of the image, the last axis first.
        """

    def _apply(self, images: Tensor, params: Params) -> Tensor:
        sources = self._sources(images.shape, params, images.device)
        return F.grid_sample(
            images, sources, mode="bilinear", padding_mode="border", align_corners=False
        )

    def _apply_label(self, labels: Tensor, params: Params) -> Tensor:
        sources = self._sources(labels.shape, params, labels.device)
        # Labels up to 2**24 are exact in float32, which is what grid_sample takes.
        moved = F.grid_sample(
            labels.float(), sources, mode="nearest", padding_mode="border", align_corners=False
        )
        return moved.to(labels.dtype)


@dataclass(frozen=True, kw_only=True)
class Affine(Warp):
    """Rotate, scale, shear and shift about the centre, as one matrix.

    Angles are true angles in space if ``spacing_mm`` tells how far voxels lie apart.

    Attributes:
        rotation_deg: Largest angle about each axis, in degrees.
        scale: Lowest and highest magnification.
        shear_deg: Largest shear angle of each pair of axes, in degrees.
        translate: Largest shift along each axis, as a fraction of the image's edge.
        rotation_axes: Axes to rotate about; name only the one across thick slices. In 2D it is
            not used.
        per_axis_scale: Whether axes are scaled apart.
        spacing_mm: Distance of voxels along each axis; None if equal.
    """

    rotation_deg: float = 15.0
    scale: tuple[float, float] = (0.8, 1.25)
    shear_deg: float = 0.0
    translate: float = 0.0
    rotation_axes: tuple[int, ...] = (0, 1, 2)
    per_axis_scale: bool = False
    spacing_mm: tuple[float, ...] | None = None

    neutral: ClassVar[Mapping[str, float]] = {
        "rotation_deg": 0.0,
        "scale": 1.0,
        "shear_deg": 0.0,
        "translate": 0.0,
    }

    def _draw(self, shape: torch.Size, generator: torch.Generator) -> Params:
        batch, dims = shape[0], len(shape) - 2
        _checked_spacing(self, self.spacing_mm, shape)
        angle, shear = math.radians(self.rotation_deg), math.tan(math.radians(self.shear_deg))
        axes = dims if self.per_axis_scale else 1
        return {
            "angles": uniform((batch, 3 if dims == 3 else 1), -angle, angle, generator),
            "scale": log_uniform((batch, axes), *self.scale, generator).expand(batch, dims),
            "shear": uniform((batch, dims, dims), -shear, shear, generator),
            "shift": uniform((batch, dims), -self.translate, self.translate, generator),
        }

    def matrices(self, shape: Sequence[int], params: Params) -> Tensor:
        """Return from which place each place is read, ``(B, d, d + 1)``, in ``grid_sample``'s way.

        Args:
            shape: Shape of the images.
            params: As drawn.
        """
        dims = len(shape) - 2
        whole = self._frames(torch.Size(shape), params).clone()
        whole[:, :, :dims] = whole[:, :, :dims].flip(2)
        return whole.flip(1)

    def _frames(self, shape: torch.Size, params: Params) -> Tensor:
        dims = len(shape) - 2
        spacing = torch.tensor(_checked_spacing(self, self.spacing_mm, shape))
        edges = torch.tensor(shape[2:], dtype=torch.float32) * spacing
        eye = torch.eye(dims)
        shear = eye + params["shear"].cpu() * (1.0 - eye)
        turn = self._rotation(params["angles"].cpu(), dims)
        # An image magnified s times is read from places 1/s as far from the centre.
        linear = turn @ shear / params["scale"].cpu().unsqueeze(1)
        # From fractions of the edges to millimetres, through the matrix, and back.
        linear = linear * edges / edges[:, None]
        shift = linear @ (-2.0 * params["shift"].cpu().unsqueeze(2))
        return torch.cat([linear, shift], dim=2)

    def _rotation(self, angles: Tensor, dims: int) -> Tensor:
        """Return rotation matrices ``(B, d, d)``, about one axis after the other."""
        total = torch.eye(dims).expand(len(angles), dims, dims)
        planes = [(1, 2), (0, 2), (0, 1)] if dims == 3 else [(0, 1)]
        for number, (a, b) in enumerate(planes):
            if dims == 3 and number not in self.rotation_axes:
                continue
            turn = torch.eye(dims).repeat(len(angles), 1, 1)
            cosine, sine = angles[:, number].cos(), angles[:, number].sin()
            turn[:, a, a], turn[:, b, b] = cosine, cosine
            turn[:, a, b], turn[:, b, a] = -sine, sine
            total = total @ turn
        return total

    def _sources(self, shape: torch.Size, params: Params, device: torch.device) -> Tensor:
        return _lattice(shape, self.matrices(shape, params).to(device, non_blocking=True))


@dataclass(frozen=True, kw_only=True)
class Elastic(Warp):
    """Push tissue about smoothly, without ever folding it.

    Control points are moved at random and interpolated by cubic splines; typical shifts are a fifth
    of the largest.

    Attributes:
        displacement_voxels: Largest shift of a control point along each axis, in voxels.
        spacing_voxels: Distance of control points, in voxels.
        spacing_mm: Distance of voxels along each axis; both numbers above are then of the finest
            axis, and thick slices are moved as many millimetres. None if equal.
    """

    displacement_voxels: float = 6.0
    spacing_voxels: float = 24.0
    spacing_mm: tuple[float, ...] | None = None

    neutral: ClassVar[Mapping[str, float]] = {"displacement_voxels": 0.0}

    def __post_init__(self) -> None:
        """Check that tissue can't fold.

        Raises:
            ConfigError: If control points may move too far for their distance.
        """
        super().__post_init__()
        if self.displacement_voxels > FOLD_LIMIT * self.spacing_voxels:
            raise ConfigError(
                f"Elastic: displacement_voxels was {self.displacement_voxels}; with control points "
                f"{self.spacing_voxels} voxels apart more than "
                f"{FOLD_LIMIT * self.spacing_voxels:.3g} could fold tissue over itself"
            )

    def _draw(self, shape: torch.Size, generator: torch.Generator) -> Params:
        spacing = _checked_spacing(self, self.spacing_mm, shape)
        finer = [min(spacing) / step for step in spacing]
        knots = tuple(
            spline_knots(size, self.spacing_voxels * share)
            for size, share in zip(shape[2:], finer, strict=True)
        )
        # A short axis has its control points closer together; they must move less there.
        distances = [size / (count - 3) for size, count in zip(shape[2:], knots, strict=True)]
        largest = [
            min(self.displacement_voxels * share, FOLD_LIMIT * distance)
            for distance, share in zip(distances, finer, strict=True)
        ]
        unit = uniform((shape[0], len(knots), *knots), -1.0, 1.0, generator)
        limits = torch.tensor(largest, device=generator.device)
        return {"control": unit * limits.view(-1, *[1] * len(knots))}

    def steps(self, shape: Sequence[int], params: Params) -> Tensor:
        """Return how far from itself each control point is read, ``(B, 3, kx, ky, kz)``.

        In the unit of ``grid_sample``, the last axis first.

        Args:
            shape: Shape of the images.
            params: As drawn.
        """
        control = params["control"].cpu()
        halves = torch.tensor(shape[2:], dtype=torch.float32) / 2.0
        return (control / halves.view(-1, *[1] * len(halves))).flip(1)

    def _sources(self, shape: torch.Size, params: Params, device: torch.device) -> Tensor:
        dims = len(shape) - 2
        steps = self.steps(shape, params).to(device, non_blocking=True)
        places = _lattice(shape, torch.eye(dims, dims + 1, device=device).unsqueeze(0))
        return places + smooth_field(steps, shape[2:]).movedim(1, -1)


@dataclass(frozen=True, kw_only=True)
class Deform(Warp):
    """An affine and an elastic change with a single resampling, so that images blur once.

    Attributes:
        affine: The change of pose, with a chance of its own.
        elastic: The change of shape, with a chance of its own.
    """

    affine: Affine = field(default_factory=Affine)
    elastic: Elastic = field(default_factory=Elastic)

    def is_idle(self) -> bool:
        """Say whether neither part does anything."""
        return self.p == 0.0 or (self.affine.is_idle() and self.elastic.is_idle())

    def scaled(self, strength: float) -> Self:
        """Return this transform with both its parts scaled."""
        return dataclasses.replace(
            self, affine=self.affine.scaled(strength), elastic=self.elastic.scaled(strength)
        )

    def _draw(self, shape: torch.Size, generator: torch.Generator) -> Params:
        return {
            **{f"affine.{k}": v for k, v in self.affine.draw(shape, generator).items()},
            **{f"elastic.{k}": v for k, v in self.elastic.draw(shape, generator).items()},
        }

    def _sources(self, shape: torch.Size, params: Params, device: torch.device) -> Tensor:
        affine = {k.removeprefix("affine."): v for k, v in params.items()}
        elastic = {k.removeprefix("elastic."): v for k, v in params.items()}
        dims = len(shape) - 2
        turned = params["affine.active"].cpu()[:, None, None]
        matrices = self.affine.matrices(shape, affine)
        matrices = torch.where(turned, matrices, torch.eye(dims, dims + 1))
        places = _lattice(shape, matrices.to(device, non_blocking=True))
        bent = params["elastic.active"].cpu()
        if not bool(bent.any()):
            return places
        # Turning the few control points turns the field: splines and matrices are both linear.
        steps = self.elastic.steps(shape, elastic) * bent.view(-1, *[1] * (dims + 1))
        turned_steps = (matrices[:, :, :dims] @ steps.flatten(2)).view(steps.shape)
        field = smooth_field(turned_steps.to(device, non_blocking=True), shape[2:])
        return places + field.movedim(1, -1)


def _checked_spacing(
    transform: Warp, spacing_mm: tuple[float, ...] | None, shape: Sequence[int]
) -> tuple[float, ...]:
    """Return the distance of voxels along each axis, 1 if they are equal."""
    dims = len(shape) - 2
    if spacing_mm is None:
        return (1.0,) * dims
    if len(spacing_mm) != dims:
        raise ConfigError(
            f"{type(transform).__name__}: spacing_mm was {spacing_mm}; these images have {dims} "
            "axes"
        )
    return spacing_mm


def _lattice(shape: Sequence[int], matrices: Tensor) -> Tensor:
    """Return where the voxels of an image are read, ``(B, X, Y, Z, 3)``, last axis first.

    The same as ``torch.nn.functional.affine_grid``, which takes nine times as long on a CPU: the
    sum over axes is built up from a line to a plane to a volume.

    Args:
        shape: Shape of the images.
        matrices: ``(B, d, d + 1)``.
    """
    dims = len(shape) - 2
    columns = matrices.view(len(matrices), *[1] * dims, dims, dims + 1).unbind(-1)
    places = columns[dims]
    for axis, size in enumerate(shape[2:]):
        line = (torch.arange(size, device=matrices.device) * 2.0 + 1.0) / size - 1.0
        places = places + line.view(-1, *[1] * (dims - axis)) * columns[dims - 1 - axis]
    return places
