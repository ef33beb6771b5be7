"""Moving volumes between grids: axes to RAS+, voxel sizes in millimetres, one grid onto another.

The field of view is what is kept. A voxel is a little box with its value at the centre, and the
first and last faces of a volume stay where they are to within half a voxel of the new grid.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from medssl.errors import GeometryError
from medssl.io.oblique import Order, read_turned
from medssl.io.resample import read_at
from medssl.types import Shape, Volume

__all__ = [
    "Order",
    "corner_distance_mm",
    "pad_to",
    "ras_axes",
    "resample",
    "resample_like",
    "to_ras",
]

Array = npt.NDArray[Any]
Affine = npt.NDArray[np.float64]

_SAME = 1e-4
"""Voxel sizes that differ by less than this share are one; headers keep single precision."""


def ras_axes(affine: Affine, count: int) -> list[tuple[int, bool]]:
    """Return, for each axis in RAS+, which stored axis it is and whether that runs backwards.

    Args:
        affine: ``(4, 4)``, voxel index to RAS+ millimetres.
        count: Number of axes that are stored, 2 or 3.
    """
    world = np.asarray(nib.orientations.io_orientation(affine))[:count]  # type: ignore[no-untyped-call]
    if np.isnan(world).any():
        raise GeometryError(
            "the affine maps two axes onto one, so left and right can't be told; "
            "expected three independent axes"
        )
    order = np.argsort(world[:, 0])
    return [(int(axis), bool(world[axis, 1] < 0)) for axis in order]


def to_ras(volume: Volume) -> Volume:
    """Reorder and flip axes so that they run to the right, to the front and to the top.

    Values are moved, never changed; an oblique volume stays as oblique as it was.

    Args:
        volume: Any orientation. A planar image keeps its plane, its two axes are ordered.

    Returns:
        The same volume; its data may be a view of the given one.
    """
    axes = ras_axes(volume.affine, volume.data.ndim)
    step = np.eye(4)
    for new, (old, backwards) in enumerate(axes):
        step[new, new] = 0.0
        step[old, new] = -1.0 if backwards else 1.0
        step[old, 3] = volume.data.shape[old] - 1 if backwards else 0.0
    if len(axes) == 2:
        step[2, 2] = 1.0
    flips = tuple(slice(None, None, -1) if backwards else slice(None) for _, backwards in axes)
    data = volume.data.transpose([old for old, _ in axes])[flips]
    return replace(volume, data=data, affine=volume.affine @ step)


def resample(
    volume: Volume,
    spacing_mm: Sequence[float],
    *,
    order: Order = "linear",
    dtype: type[np.float32] | type[np.int16] = np.float32,
) -> Volume:
    """Put a volume on a grid of another voxel size that covers the same field of view.

    Axes that get coarser are smoothed first, so that fine structure fades instead of turning into
    false patterns. Axes whose spacing is right already are left as they are.

    Args:
        volume: The volume, usually in RAS+.
        spacing_mm: Wanted distance between voxel centres along each axis; a planar image takes the
            first two.
        order: ``nearest`` keeps the data type.
        dtype: Of the result for the other orders: float32, or int16 for whole numbers, which take
            half the memory.

    Raises:
        GeometryError: If a spacing is missing or not positive.
    """
    target = tuple(float(edge) for edge in spacing_mm)[: volume.data.ndim]
    if len(target) < volume.data.ndim or not min(target) > 0:
        raise GeometryError(
            f"a spacing of {tuple(spacing_mm)} mm does not suit {volume.data.ndim} axes; "
            "expected one positive number for each"
        )
    affine = volume.affine.copy()
    positions: list[npt.NDArray[np.float64]] = []
    for axis, (count, now, wanted) in enumerate(
        zip(volume.data.shape, volume.spacing_mm, target, strict=True)
    ):
        step = 1.0 if abs(wanted / now - 1) < _SAME else wanted / now
        length = count if step == 1.0 else max(1, round(count / step))
        index = (np.arange(length) - (length - 1) / 2) * step + (count - 1) / 2
        affine[:, 3] += affine[:, axis] * index[0]
        affine[:, axis] *= step
        positions.append(index)
    data = read_at(volume.data, positions, order, dtype=dtype)
    return replace(volume, data=data, affine=affine)


def resample_like(
    data: Array,
    affine: Affine,
    shape: Shape,
    target_affine: Affine,
    *,
    order: Order = "linear",
    outside: float | None = None,
) -> Array:
    """Put an array on another grid in the same space, say a prediction back on the source's.

    Args:
        data: ``(X, Y, Z)`` or ``(X, Y)``, or with leading axes such as classes.
        affine: ``(4, 4)`` of ``data``.
        shape: Spatial shape of the wanted grid, two or three numbers.
        target_affine: ``(4, 4)`` of the wanted grid, in any orientation.
        order: ``nearest`` keeps the data type; the others return float32.
        outside: Value of voxels beyond the field of view; none repeats the nearest edge.

    Returns:
        The leading axes of ``data``, then ``shape``.
    """
    count = len(shape)
    mapping: Affine = np.linalg.solve(affine, target_affine).astype(np.float64)
    matrix, offset = mapping[:count, :count], mapping[:count, 3]
    sources = _permutation(matrix)
    if sources is None:
        return read_turned(data, matrix, offset, shape, order, outside)
    positions = [
        matrix[axis, target] * np.arange(shape[target]) + offset[axis]
        for axis, target in enumerate(sources)
    ]
    lead = data.ndim - count
    moved = read_at(data, positions, order)
    if outside is not None and np.may_share_memory(moved, data):
        moved = moved.copy()
    for axis, index in enumerate(positions if outside is not None else ()):
        beyond = (index < -0.5 - 1e-6) | (index > data.shape[lead + axis] - 0.5 + 1e-6)
        moved[(slice(None),) * (lead + axis) + (beyond,)] = outside
    return moved.transpose(*range(lead), *(lead + axis for axis in np.argsort(sources)))


def corner_distance_mm(shape_a: Shape, affine_a: Affine, shape_b: Shape, affine_b: Affine) -> float:
    """Return how far apart two grids are: the largest distance between corners of the same name.

    Example:
        >>> corner_distance_mm((11, 1, 1), np.eye(4), (11, 1, 1), np.diag([1.5, 1, 1, 1]))
        5.0
    """
    return float(
        np.linalg.norm(_corners(shape_a, affine_a) - _corners(shape_b, affine_b), axis=1).max()
    )


def pad_to(array: Array, size: Shape, value: float) -> tuple[Array, Shape]:
    """Centre an array in one that is at least ``size``: the rule for volumes smaller than a patch.

    Training and prediction both use it, with the smallest value of the volume; different rules in
    the two cost several points of Dice.

    Args:
        array: Spatial axes last, as many as ``size`` has numbers.
        size: Least number of voxels along each axis.
        value: What to fill with.

    Returns:
        The padded array (the given one if it is large enough) and how many voxels were put before
        it along each axis.
    """
    lead = array.ndim - len(size)
    missing = [max(0, edge - count) for edge, count in zip(size, array.shape[lead:], strict=True)]
    before = tuple(count - count // 2 for count in missing)
    if not any(missing):
        return array, before
    widths = [(0, 0)] * lead + [(a, m - a) for a, m in zip(before, missing, strict=True)]
    return np.pad(array, widths, constant_values=value), before


def _corners(shape: Shape, affine: Affine) -> Affine:
    """Return the centres of the corner voxels in millimetres, ``(8, 3)``."""
    ends = [(0, count - 1) for count in (*shape, 1, 1)[:3]]
    index = np.array(list(itertools.product(*ends)), dtype=np.float64)
    return np.asarray(index @ affine[:3, :3].T + affine[:3, 3])


def _permutation(matrix: Affine) -> list[int] | None:
    """Return which target axis feeds each source axis, or none if one is fed by several."""
    size = np.abs(matrix)
    sources = [int(axis) for axis in size.argmax(axis=1)]
    rest = size.copy()
    rest[np.arange(len(sources)), sources] = 0.0
    if sorted(sources) != list(range(len(sources))) or (rest > 1e-5 * size.max()).any():
        return None
    return sources
