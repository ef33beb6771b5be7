"""Implicit shapes in the frame of the body: a distance in millimetres, negative inside.

A shape is a function of :class:`Points` and the box outside which it is nowhere; shapes are joined,
cut and bent into organs as clay is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from medssl.phantom.noise import Array

__all__ = [
    "Points",
    "Shape",
    "Vector",
    "above_diaphragm",
    "below_diaphragm",
    "blend",
    "carve",
    "ellipsoid",
    "half_space",
    "in_cavity",
    "meet",
    "segment",
    "tube",
    "varied",
]

Vector = tuple[float, float, float]
_EVERYWHERE: Final[tuple[Vector, Vector]] = ((-1e4, -1e4, -1e4), (1e4, 1e4, 1e4))


@dataclass(frozen=True)
class Points:
    """Places in the body, with what the trunk says about each; arrays of one shape, millimetres.

    Attributes:
        x: Towards the patient's right.
        y: Towards the front.
        z: Towards the head.
        wall: Distance outside the surface of the muscles; negative inside.
        cage: Distance outside the inner lining of the trunk; negative in the chest and belly.
        dome: Height above the diaphragm; negative in the belly.
    """

    x: Array
    y: Array
    z: Array
    wall: Array
    cage: Array
    dome: Array

    def __getitem__(self, box: tuple[slice, ...]) -> Points:
        """Return the points of a box of the grid."""
        return Points(
            self.x[box], self.y[box], self.z[box], self.wall[box], self.cage[box], self.dome[box]
        )


@dataclass(frozen=True)
class Shape:
    """Something solid.

    Attributes:
        distance: From points to millimetres outside the surface; negative inside.
        low: Lowest corner of a box that holds the shape, ``(x, y, z)`` in millimetres.
        high: Highest corner of that box.
    """

    distance: Callable[[Points], Array]
    low: Vector
    high: Vector


def _vector(values: npt.ArrayLike) -> Vector:
    x, y, z = (float(value) for value in np.asarray(values))
    return x, y, z


def ellipsoid(center: Vector, radii: Vector, *, turn: Vector = (0.0, 0.0, 0.0)) -> Shape:
    """Return an ellipsoid, turned about x, then y, then z by angles in degrees."""
    matrix = Rotation.from_euler("xyz", turn, degrees=True).as_matrix()
    reach = np.sqrt((matrix**2) @ (np.asarray(radii) ** 2))
    into = (matrix / np.asarray(radii)).T.astype(np.float32)
    straight = not any(turn)
    tiny, thin = np.float32(1e-6), np.float32(min(radii))

    def distance(points: Points) -> Array:
        x, y, z = points.x - center[0], points.y - center[1], points.z - center[2]
        if straight:
            local = [x * into[0, 0], y * into[1, 1], z * into[2, 2]]
        else:
            local = [row[0] * x + row[1] * y + row[2] * z for row in into]
        squares = [part * part for part in local]
        # Two lengths give the distance to first order: the gradient of the first is the second.
        length = np.sqrt(squares[0] + squares[1] + squares[2])
        slope = np.sqrt(sum(s * np.float32(r**-2) for s, r in zip(squares, radii, strict=True)))
        # The two small numbers keep the ratio right at the very centre, where both lengths vanish.
        found: Array = (length + tiny) * (length - 1) / (slope + tiny / thin)
        return found

    return Shape(distance, _vector(center - reach), _vector(center + reach))


def segment(start: Vector, end: Vector, radius_mm: tuple[float, float]) -> Shape:
    """Return a rod with round ends whose radius goes from the first to the second value."""
    axis = np.subtract(end, start)
    axis = (axis / max(float(axis @ axis), 1e-6)).astype(np.float32)
    span = np.subtract(end, start).astype(np.float32)
    thick = max(radius_mm)

    def distance(points: Points) -> Array:
        x, y, z = points.x - start[0], points.y - start[1], points.z - start[2]
        along = np.clip(x * axis[0] + y * axis[1] + z * axis[2], 0, 1)
        x, y, z = x - along * span[0], y - along * span[1], z - along * span[2]
        radius = radius_mm[0] + along * np.float32(radius_mm[1] - radius_mm[0])
        found: Array = np.sqrt(x * x + y * y + z * z) - radius
        return found

    ends = np.array([start, end])
    return Shape(distance, _vector(ends.min(axis=0) - thick), _vector(ends.max(axis=0) + thick))


def tube(*stations: tuple[float, float, float, float]) -> tuple[Shape, ...]:
    """Return the rods through stations ``(x, y, z, radius)``; together they are one tube."""
    return tuple(segment(a[:3], b[:3], (a[3], b[3])) for a, b in pairwise(stations))


def half_space(normal: Vector, offset_mm: float) -> Shape:
    """Return what lies less than ``offset_mm`` along ``normal`` from the middle of the body."""
    unit = np.asarray(normal, np.float32) / np.float32(np.linalg.norm(normal))

    def distance(points: Points) -> Array:
        found: Array = points.x * unit[0] + points.y * unit[1] + points.z * unit[2] - offset_mm
        return found

    return Shape(distance, *_EVERYWHERE)


def in_cavity(gap_mm: float) -> Shape:
    """Return what lies at least ``gap_mm`` inside the lining of the trunk."""
    return Shape(lambda points: points.cage + np.float32(gap_mm), *_EVERYWHERE)


def below_diaphragm(gap_mm: float) -> Shape:
    """Return what lies at least ``gap_mm`` under the diaphragm."""
    return Shape(lambda points: points.dome + np.float32(gap_mm), *_EVERYWHERE)


def above_diaphragm(gap_mm: float) -> Shape:
    """Return what lies at least ``gap_mm`` over the diaphragm."""
    return Shape(lambda points: np.float32(gap_mm) - points.dome, *_EVERYWHERE)


def meet(*shapes: Shape, blend_mm: float = 6.0) -> Shape:
    """Return what is in every shape, its edges rounded over ``blend_mm``."""

    def distance(points: Points) -> Array:
        found = shapes[0].distance(points)
        for shape in shapes[1:]:
            found = _rounded(found, shape.distance(points), blend_mm)
        return found

    return Shape(
        distance,
        _vector(np.max([shape.low for shape in shapes], axis=0)),
        _vector(np.min([shape.high for shape in shapes], axis=0)),
    )


def blend(*shapes: Shape, blend_mm: float = 6.0) -> Shape:
    """Return what is in any shape, the seams filled over ``blend_mm``."""

    def distance(points: Points) -> Array:
        found = -shapes[0].distance(points)
        for shape in shapes[1:]:
            found = _rounded(found, -shape.distance(points), blend_mm)
        return -found

    return Shape(
        distance,
        _vector(np.min([shape.low for shape in shapes], axis=0)),
        _vector(np.max([shape.high for shape in shapes], axis=0)),
    )


def carve(shape: Shape, *tools: Shape, blend_mm: float = 6.0) -> Shape:
    """Return ``shape`` without what is in any of the tools."""

    def distance(points: Points) -> Array:
        found = shape.distance(points)
        for tool in tools:
            found = _rounded(found, -tool.distance(points), blend_mm)
        return found

    return Shape(distance, shape.low, shape.high)


def varied(shape: Shape, *, factor: npt.ArrayLike, shift_mm: npt.ArrayLike, pivot: Vector) -> Shape:
    """Return the shape stretched about ``pivot`` along each axis, then moved."""
    low, high, center = np.asarray(shape.low), np.asarray(shape.high), np.asarray(pivot)
    scale, shift = np.asarray(factor), np.asarray(shift_mm)
    offset = (center - (center + shift) / scale).astype(np.float32)
    inverse = (1 / scale).astype(np.float32)
    mean = np.float32(scale.mean())

    def distance(points: Points) -> Array:
        moved = replace(
            points,
            x=points.x * inverse[0] + offset[0],
            y=points.y * inverse[1] + offset[1],
            z=points.z * inverse[2] + offset[2],
        )
        return shape.distance(moved) * mean

    moved_low = center + shift + (low - center) * scale
    moved_high = center + shift + (high - center) * scale
    return Shape(distance, _vector(moved_low), _vector(moved_high))


def _rounded(first: Array, second: Array, blend_mm: float) -> Array:
    """Return the larger of two distances, the crease between them smoothed."""
    larger: Array = np.maximum(first, second)
    if blend_mm <= 0:
        return larger
    crease = np.maximum(np.float32(blend_mm) - np.abs(first - second), 0)
    larger += crease * crease * np.float32(0.25 / blend_mm)
    return larger
