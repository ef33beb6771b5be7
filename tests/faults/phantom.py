"""An object that is known everywhere: its value at a point in space is a formula.

Every fault case that is admitted is checked against it. The gradient differs along each axis and
bends, so that a flip, a swap, a shift of a voxel or a wrong spacing shows in the values.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from medssl.types import Volume

SHAPE = (12, 11, 10)
POINTS_MM = np.array(list(itertools.product((-5.0, -2.5, 0.0, 2.0, 4.5), repeat=3)))
"""Points that every phantom covers: :func:`centred` puts the middle of the grid at zero."""

_RESAMPLED = {"tilt_resampled", "uneven_resampled", "shear_resampled"}


def value_at(points_mm: np.ndarray) -> np.ndarray:
    """Return the value at points ``(..., 3)`` in RAS+ millimetres, from air to bone near zero."""
    x, y, z = np.moveaxis(np.asarray(points_mm, dtype=np.float64), -1, 0)
    line = 100 + 20 * x + 25 * y + 30 * z
    return line + 30 * np.sin(x / 9) + 40 * np.cos(y / 11 + 1) + 35 * np.sin((x - z) / 13)


def centred(axes: Sequence[Sequence[float]] | np.ndarray, shape: Sequence[int] = SHAPE):
    """Return the affine with these columns, ``(3, 3)``, whose grid has its middle at zero."""
    affine = np.eye(4)
    affine[:3, :3] = axes
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


AFFINE = centred(np.diag([1.5, 1.75, 2.0]))
"""Of a sound phantom: straight, another voxel size along each axis."""


def places(shape: Sequence[int], affine: np.ndarray) -> np.ndarray:
    """Return where the voxels lie, ``(*shape, 3)``."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def paint(shape: Sequence[int] = SHAPE, affine: np.ndarray = AFFINE) -> np.ndarray:
    """Return the object on a grid, int16."""
    values = np.rint(value_at(places(shape, affine)))
    assert np.abs(values).max() < 2**15, "the grid lies too far from zero for int16"
    return values.astype(np.int16)


def sample(volume: Volume, points_mm: np.ndarray) -> np.ndarray:
    """Return a volume's values between its voxels, linearly; a point outside is an error."""
    inverse = np.linalg.inv(volume.affine)
    index = np.asarray(points_mm) @ inverse[:3, :3].T + inverse[:3, 3]
    last = np.array(volume.data.shape) - 1
    assert (index >= -1e-3).all(), "a known point lies before the first voxel"
    assert (index <= last + 1e-3).all(), "a known point lies beyond the last voxel"
    low = np.clip(np.floor(index).astype(int), 0, np.maximum(last - 1, 0))
    part = index - low
    total = np.zeros(len(index))
    for corner in itertools.product((0, 1), repeat=3):
        weight = np.prod(np.where(corner, part, 1 - part), axis=1)
        total += weight * volume.data[tuple(np.minimum(low + corner, last).T)]
    return total


def check(volume: Volume, tolerance: float = 2.0, points_mm: np.ndarray = POINTS_MM) -> None:
    """Compare a volume with the object at known points; unless resampled, at every voxel too.

    A value changes by 20 to 30 a millimetre, so a tolerance of 2 is a tenth of a millimetre.
    """
    assert volume.data.ndim == 3
    assert np.abs(sample(volume, points_mm) - value_at(points_mm)).max() <= tolerance
    if not _RESAMPLED & set(volume.fixes):
        expected = value_at(places(volume.data.shape, volume.affine))
        assert np.abs(volume.data - expected).max() <= tolerance
