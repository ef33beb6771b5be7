"""The grid on which a subject is drawn: tissues laid over each other with soft edges."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from medssl.phantom.noise import Array, Axes, SmoothField, stream, tangle
from medssl.phantom.physique import Physique
from medssl.phantom.shapes import Points, Shape, Vector
from medssl.phantom.torso import Torso

__all__ = ["Canvas", "Layer", "Region"]

GridBox = tuple[slice, slice, slice]
_WARP_MM: Final = ((110.0, 5.0), (42.0, 1.6))
"""Pitch and deviation of the random bends that turn smooth shapes into grown ones."""
_MARGIN_MM: Final = 19.0
"""How far the bends may carry a shape out of its box."""


@dataclass(frozen=True)
class Layer:
    """One tissue laid over what was there.

    Attributes:
        box: The part of the grid it touches.
        cover: Share of each voxel that it fills, 0 to 1, ``(X, Y, Z)`` of the box.
        tissue: A name of the table of tissues.
    """

    box: GridBox
    cover: Array
    tissue: str


@dataclass(frozen=True)
class Region:
    """A shape seen on the grid.

    Attributes:
        box: The part of the grid that holds it.
        distance: Millimetres outside its surface, ``(X, Y, Z)`` of the box.
        points: The points of the box.
    """

    box: GridBox
    distance: Array
    points: Points


class Canvas:
    """A grid in the scanner, the body that lies in it, and the layers drawn so far.

    Args:
        axes: Positions of the voxel centres, in millimetres of the scanner.
        edge_mm: Width of the soft edge of a shape: the size of a voxel.
        physique: The subject.
    """

    def __init__(self, axes: Axes, edge_mm: float, physique: Physique) -> None:
        self.axes = axes
        self.physique = physique
        self.shape = tuple(len(axis) for axis in axes)
        self.layers: list[Layer] = []
        self.labels: npt.NDArray[np.int16] = np.zeros(self.shape, np.int16)
        self.torso = Torso(physique)
        self.points = self._locate()
        self._fields: dict[str, Array] = {}
        self.edge_mm = edge_mm

    def _locate(self) -> Points:
        """Carry every voxel into the frame of the body, bends included."""
        into = self.physique.into_body
        origin = into @ np.asarray(self.physique.shift_mm)
        generator = stream(self.physique.seed, "bends")
        bent = []
        for row, start in zip(into.astype(np.float32), origin.astype(np.float32), strict=True):
            x, y, z = (axis * share for axis, share in zip(self.axes, row, strict=True))
            place = x[:, None, None] + (y[:, None] + z[None, :] - start)[None]
            for pitch_mm, deviation_mm in _WARP_MM:
                place += SmoothField.draw(generator, pitch_mm)(self.axes) * np.float32(deviation_mm)
            bent.append(place)
        return self.torso.locate(*bent)

    def field(self, name: str, pitch_mm: float) -> Array:
        """Return a random field of the subject over the whole grid, drawn once."""
        if name not in self._fields:
            drawn = SmoothField.draw(stream(self.physique.seed, name), pitch_mm)
            self._fields[name] = drawn(self.axes)
        return self._fields[name]

    def tangle(self, name: str, pitch_mm: float, box: GridBox) -> Array:
        """Return the distance to a tangle of random curves over a box, in about millimetres."""
        first, second = (self.field(f"{name} {part}", pitch_mm)[box] for part in ("one", "two"))
        return tangle(first, second, pitch_mm)

    def box(self, low: Vector, high: Vector) -> GridBox:
        """Return the part of the grid that a box of the body can reach, bends included."""
        middle = np.clip(np.add(low, high) / 2, -1e3, 1e3)
        half = np.minimum(np.subtract(high, low) / 2, 1e3)
        out = self.physique.out_of_body
        center = out @ middle + self.physique.shift_mm
        reach = np.abs(out) @ half + _MARGIN_MM
        slices = []
        for axis, nearest, farthest in zip(self.axes, center - reach, center + reach, strict=True):
            first, last = np.searchsorted(axis, (nearest, farthest))
            slices.append(slice(int(first), int(last)))
        return slices[0], slices[1], slices[2]

    def region(self, *shapes: Shape) -> Region:
        """Return the union of shapes on the part of the grid that holds them all."""
        whole = self.box(
            _corner(np.min([shape.low for shape in shapes], axis=0)),
            _corner(np.max([shape.high for shape in shapes], axis=0)),
        )
        if len(shapes) == 1:
            points = self.points[whole]
            return Region(whole, shapes[0].distance(points), points)
        distance: Array = np.full([part.stop - part.start for part in whole], 1e3, np.float32)
        for shape in shapes:
            box = self.box(shape.low, shape.high)
            inner = tuple(
                slice(part.start - outer.start, part.stop - outer.start)
                for part, outer in zip(box, whole, strict=True)
            )
            distance[inner] = np.minimum(distance[inner], shape.distance(self.points[box]))
        return Region(whole, distance, self.points[whole])

    def paint(
        self,
        region: Region,
        tissue: str,
        *,
        organ: int | None = None,
        grow_mm: float = 0.0,
        within: Iterable[Array] = (),
        share: Array | None = None,
    ) -> None:
        """Lay a tissue over what was drawn before.

        Args:
            region: Where.
            tissue: A name of the table of tissues.
            organ: The label it gets; without one the label beneath stays.
            grow_mm: How far beyond the region's surface it reaches; negative keeps away from it.
            within: Distances that also bound it, on the region's box.
            share: How much of each voxel it fills at most, for what is thinner than a voxel.
        """
        distance = region.distance - np.float32(grow_mm) if grow_mm else region.distance
        for bound in within:
            distance = np.maximum(distance, bound)
        cover = np.clip(np.float32(0.5) - distance * np.float32(1 / self.edge_mm), 0, 1)
        if share is not None:
            cover *= share
        self.layers.append(Layer(region.box, cover, tissue))
        if organ is not None:
            self.labels[region.box][cover > 0.5] = organ


def _corner(values: npt.NDArray[np.float64]) -> Vector:
    x, y, z = (float(value) for value in values)
    return x, y, z
