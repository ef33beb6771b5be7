"""Axes that are not at right angles, and the straight grid that takes their place.

A leaning axis comes from a tilted gantry or from a registration that was saved without resampling.
Where two axes are at right angles, as those of a tilted slice are, both are kept and only the
third is set upright, so that slices stay slices. Otherwise all three turn a little, to the nearest
axes at right angles.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from medssl.io.geometry import Order, resample_like
from medssl.types import Shape

__all__ = ["straight_axes", "straight_grid", "straighten"]

_RIGHT_ANGLE = 2e-4
"""Cosine of the largest angle that counts as right: 0.1 mm over the width of a body."""

_MOST_LABELS = 255

Affine = npt.NDArray[np.float64]


def straight_axes(axes: Affine) -> Affine:
    """Return the axes at right angles that are nearest to three unit vectors, ``(3, 3)``."""
    left, _, right = np.linalg.svd(axes)
    straight: Affine = left @ right
    return straight


def straight_grid(affine: Affine, shape: Shape) -> tuple[Shape, Affine]:
    """Return the smallest straight grid that holds every voxel of a leaning one.

    Args:
        affine: ``(4, 4)``, not singular.
        shape: Three numbers.
    """
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    unit = affine[:3, :3] / lengths
    upright = _kept_plane(unit, lengths)
    axes = straight_axes(unit) if upright is None else upright
    spacing = lengths if upright is None else np.abs((affine[:3, :3] * axes).sum(axis=0))
    ends = [(0.0, float(count - 1)) for count in shape]
    corners = np.array(list(itertools.product(*ends))) @ affine[:3, :3].T @ axes
    low, high = corners.min(axis=0), corners.max(axis=0)
    steps = np.ceil((high - low) / spacing - 1e-3)
    start = low - (steps * spacing - (high - low)) / 2
    straight = np.eye(4)
    straight[:3, :3] = axes * spacing
    straight[:3, 3] = affine[:3, 3] + axes @ start
    return tuple(int(step) + 1 for step in steps), straight


def straighten(
    data: npt.NDArray[Any], affine: Affine, shape: Shape, straight: Affine
) -> npt.NDArray[Any]:
    """Put the values of a leaning grid on a straight one; the type of the values is kept.

    Values are interpolated linearly; labels are taken from the nearest voxel. Places that the
    leaning grid does not reach get the smallest value.
    """
    order: Order = "nearest" if _are_labels(data) else "linear"
    moved = resample_like(data, affine, shape, straight, order=order, outside=float(data.min()))
    if np.issubdtype(data.dtype, np.integer) and order == "linear":
        moved = np.rint(moved)
    return moved.astype(data.dtype, copy=False)


def _kept_plane(unit: Affine, lengths: npt.NDArray[np.float64]) -> Affine | None:
    """Return axes of which two are kept, the finest pair at right angles; None without a pair."""
    pairs = [
        (lengths[a] + lengths[b], a, b)
        for a, b in ((0, 1), (0, 2), (1, 2))
        if abs(unit[:, a] @ unit[:, b]) < _RIGHT_ANGLE
    ]
    if not pairs:
        return None
    _, a, b = min(pairs)
    third = 3 - a - b
    axes = unit.copy()
    axes[:, b] -= (axes[:, a] @ axes[:, b]) * axes[:, a]
    axes[:, b] /= np.linalg.norm(axes[:, b])
    normal = np.cross(axes[:, a], axes[:, b])
    axes[:, third] = normal if normal @ unit[:, third] > 0 else -normal
    return axes


def _are_labels(data: npt.NDArray[Any]) -> bool:
    """Say whether values are labels: whole numbers from zero on that mostly equal their neighbour.

    An image of eight bits holds such numbers too, but few neighbours in a body are the same.
    """
    if data.min() < 0 or data.max() > _MOST_LABELS or not np.array_equal(data, np.rint(data)):
        return False
    before, after = data[:-1], data[1:]
    inside = (before != 0) | (after != 0)
    return bool(2 * np.count_nonzero((before == after) & inside) >= np.count_nonzero(inside))
