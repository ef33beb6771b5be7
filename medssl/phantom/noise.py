"""Smooth random fields that live in millimetres, so that every grid sees the same anatomy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "Axes", "SmoothField", "stream", "tangle"]

Array = npt.NDArray[np.float32]
Axes = tuple[Array, Array, Array]
"""Positions of the voxel centres along each axis, in millimetres."""

_UNIT_GAIN: Final = 3.0
"""A cubic B-spline of white noise has a deviation of about 1/3 in three dimensions."""


def stream(seed: int, name: str) -> np.random.Generator:
    """Return the random numbers that one purpose of one subject draws from.

    Purposes are independent of each other: drawing more for the lungs does not move the liver.
    """
    return np.random.default_rng([seed, *name.encode()])


@dataclass(frozen=True)
class SmoothField:
    """Random values on a periodic lattice, joined by cubic B-splines; mean 0, deviation about 1.

    Attributes:
        lattice: ``(N, N, N)`` values.
        pitch_mm: Distance between lattice points: about the size of a blob.
    """

    lattice: Array
    pitch_mm: float

    @classmethod
    def draw(cls, generator: np.random.Generator, pitch_mm: float) -> SmoothField:
        """Draw a field whose period is longer than a trunk is wide, where that stays affordable."""
        cells = int(np.clip(np.ceil(420.0 / pitch_mm), 6, 48))
        return cls(generator.standard_normal((cells,) * 3, dtype=np.float32), pitch_mm)

    def __call__(self, axes: Axes) -> Array:
        """Return the field on a grid, ``(X, Y, Z)``."""
        cells = self.lattice.shape[0]
        across = [_spline_weights(axis / self.pitch_mm, cells) for axis in axes]
        plane = across[0] @ self.lattice.reshape(cells, -1)
        plane = np.matmul(across[1], plane.reshape(-1, cells, cells))
        field: Array = np.matmul(plane, across[2].T * np.float32(_UNIT_GAIN))
        return field


def _spline_weights(positions: Array, cells: int) -> Array:
    """Return ``(len(positions), cells)``: what each lattice plane adds at each position."""
    floor = np.floor(positions)
    t = positions - floor
    pieces = (
        (1 - t) ** 3,
        3 * t**3 - 6 * t**2 + 4,
        -3 * t**3 + 3 * t**2 + 3 * t + 1,
        t**3,
    )
    weights = np.zeros((len(positions), cells), np.float32)
    rows = np.arange(len(positions))
    for step, piece in enumerate(pieces):
        weights[rows, (floor.astype(np.int64) + step - 1) % cells] += piece / 6
    return weights


def tangle(first: Array, second: Array, pitch_mm: float) -> Array:
    """Return the distance to a tangle of random curves, in about millimetres.

    Two random surfaces cross in curves; thickened, such curves pass for vessels or loops of bowel.

    Args:
        first: A smooth field, any shape.
        second: Another one of the same pitch and shape.
        pitch_mm: The pitch of both.
    """
    distance: Array = np.sqrt(first * first + second * second) * np.float32(pitch_mm / 1.4)
    return distance
