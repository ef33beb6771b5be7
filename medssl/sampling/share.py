"""How much of a box is body, by a few lookups however large the box, and where boxes hold enough.

The coarse occupancy grid is summed once a volume; the body of a box is then a sum of its corners.
Between corners of cells that sum is linear along each axis, so that shares are exact for boxes at
any voxel.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

from medssl.sampling.facts import VolumeFacts
from medssl.types import Box, Shape

__all__ = [
    "body_share",
    "body_shares",
    "fullest_boxes",
    "holds_share",
    "random_body_voxel",
    "random_voxel_of",
    "start_range",
]

_ALMOST = 1e-9
"""A share this much too small is rounding."""

_NEAR_BEST = 0.9
"""Where no box holds the share that was asked for, a box of this share of the best will do."""


def body_share(facts: VolumeFacts, box: Box) -> float:
    """Return the share of a box that is body, as far as the coarse grid tells; outside is air."""
    return float(body_shares(facts, np.array([box.start]), box.size)[0])


def body_shares(
    facts: VolumeFacts, starts: npt.NDArray[np.int64], size: Shape
) -> npt.NDArray[np.float64]:
    """Return the share of body of many boxes of one size.

    Args:
        facts: What is known of the volume.
        starts: ``(n, ndim)`` first voxels; boxes may leave the volume.
        size: Voxels along each edge.

    Returns:
        ``(n,)`` shares in [0, 1].
    """
    table = facts.occupied_before
    ends = np.stack([starts, starts + np.array(size)], axis=2)
    corners, weights = _corners(ends, np.array(facts.shape)[:, None], np.array(facts.cell)[:, None])
    corners *= np.array(table.strides)[:, None] // table.itemsize
    ndim, flat = len(size), corners[:, 0]
    for axis in range(1, ndim):
        flat = flat[..., None] + corners[:, axis].reshape(len(starts), *(1,) * axis, 4)
    counts = table.ravel()[flat].astype(np.float64)
    for axis in reversed(range(ndim)):
        weight = weights[:, axis].reshape(len(starts), *(1,) * axis, 4)
        counts = (counts * weight).sum(axis=-1)
    shares: npt.NDArray[np.float64] = counts * float(np.prod(np.divide(facts.cell, size)))
    return shares


def holds_share(facts: VolumeFacts, start: Shape, size: Shape, share: float) -> bool:
    """Say whether a box holds at least a share of body.

    The whole cells inside a box and the cells that it touches bound its body from both sides; only
    where the share lies between the two is it worked out. That is the same answer, sooner.

    Args:
        facts: What is known of the volume.
        start: First voxel of the box; it may leave the volume.
        size: Voxels along each edge.
        share: The share of body that is wanted.
    """
    inner, outer = [(0, 1)], [(0, 1)]
    stride = 1
    wanted = share - _ALMOST
    for begin, edge, cell, count in zip(
        reversed(start), reversed(size), reversed(facts.cell), reversed(facts.shape), strict=True
    ):
        low, high = min(max(begin, 0), count), min(max(begin + edge, 0), count)
        wanted *= edge / cell
        first, last = -(-low // cell), high // cell
        # No whole cell inside leaves nothing to add up.
        inner = _both_ends(inner, min(first, last) * stride, last * stride)
        outer = _both_ends(outer, low // cell * stride, -(-high // cell) * stride)
        stride *= -(-count // cell) + 1
    cells_before = facts.occupied_before.item
    if sum([sign * cells_before(at) for at, sign in inner]) >= wanted:
        return True
    if sum([sign * cells_before(at) for at, sign in outer]) < wanted:
        return False
    return body_share(facts, Box(start, size)) >= share - _ALMOST


def _both_ends(corners: list[tuple[int, int]], low: int, high: int) -> list[tuple[int, int]]:
    """Return where to look up a sum over one axis more, and with which sign."""
    return [(at + high, sign) for at, sign in corners] + [(at + low, -sign) for at, sign in corners]


def _corners(
    ends: npt.NDArray[np.int64], shape: npt.NDArray[np.int64], cell: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return which sums to look up along each axis, and by what to multiply them.

    Args:
        ends: ``(n, ndim, 2)`` first voxel and end of boxes.
        shape: ``(ndim, 1)`` voxels of the volume.
        cell: ``(ndim, 1)`` voxels of a cell.

    Returns:
        ``(n, ndim, 4)`` corners and weights: around the first voxel, negative, and around the end.
    """
    inside = np.minimum(np.maximum(ends, 0), shape)
    corner, rest = np.divmod(inside, cell)
    part = rest / cell
    corners = np.concatenate([corner, corner + (rest > 0)], axis=2)
    weights = np.concatenate([1 - part, part], axis=2)
    weights[..., ::2] *= -1
    return corners, weights


def start_range(facts: VolumeFacts, size: Shape, share: float) -> list[tuple[int, int]]:
    """Return the lowest and highest start along each axis of boxes that may hold the share.

    Boxes lie inside the volume, or have it in their middle along an axis on which it is smaller.
    Beyond the range no box holds the share; inside it one may or may not.

    Args:
        facts: What is known of the volume.
        size: Voxels along each edge of the boxes.
        share: The share of body that is wanted.
    """
    body = facts.body
    found = []
    for count, edge, begin, length in zip(facts.shape, size, body.start, body.size, strict=True):
        first, last = (0, count - edge) if count > edge else ((count - edge) // 2,) * 2
        # A share of the volume is at least as large a share along every axis.
        needed = math.ceil(share * edge - _ALMOST)
        low, high = max(first, begin + needed - edge), min(last, begin + length - needed)
        found.append((low, high) if low <= high else (first, last))
    return found


def fullest_boxes(
    facts: VolumeFacts, size: Shape, share: float
) -> tuple[npt.NDArray[np.int64], float]:
    """Return starts of boxes that hold the share, or nearly the most that any box can hold.

    Only boxes that begin or end at the edge of a cell along each axis are looked at. The share is
    linear between them, so that one of them is the fullest of all boxes.

    Args:
        facts: What is known of the volume.
        size: Voxels along each edge of the boxes.
        share: The share of body that is wanted.

    Returns:
        ``(n, ndim)`` starts, at least one, and the share that all of them hold: the one that was
        asked for, or nine tenths of what the fullest box holds.
    """
    return _fullest_boxes(facts, tuple(size), share)


@functools.lru_cache(maxsize=128)
def _fullest_boxes(
    facts: VolumeFacts, size: Shape, share: float
) -> tuple[npt.NDArray[np.int64], float]:
    ranges = start_range(facts, size, 0.0)
    axes = [
        _edges_between(low, high, edge, cell)
        for (low, high), edge, cell in zip(ranges, size, facts.cell, strict=True)
    ]
    counts = facts.occupied_before.astype(np.float32)
    for axis, starts in enumerate(axes):
        ends = np.stack([starts, starts + size[axis]], axis=1)[:, None]
        corners, weights = _corners(
            ends, np.array([[facts.shape[axis]]]), np.array([[facts.cell[axis]]])
        )
        along = [-1 if other == axis else 1 for other in range(len(size))]
        parts = [
            counts.take(corners[:, 0, k], axis=axis) * weights[:, 0, k].reshape(along)
            for k in range(4)
        ]
        counts = np.asarray(sum(parts), np.float32)
    shares = counts * np.float32(np.prod(np.divide(facts.cell, size)))
    # Single precision is right to six digits; what is found is held to a little less.
    wanted = min(share, _NEAR_BEST * float(shares.max())) - 1e-5
    chosen = np.nonzero(shares >= wanted)
    return np.stack([starts[n] for starts, n in zip(axes, chosen, strict=True)], axis=1), wanted


def _edges_between(low: int, high: int, edge: int, cell: int) -> npt.NDArray[np.int64]:
    """Return the starts from ``low`` to ``high`` at which a box begins or ends with a cell."""
    begin = np.arange(-(-low // cell) * cell, high + 1, cell)
    end = np.arange(-(-(low + edge) // cell) * cell, high + edge + 1, cell) - edge
    return np.unique(np.concatenate([[low, high], begin, end]))


def random_body_voxel(facts: VolumeFacts, generator: np.random.Generator) -> Shape:
    """Return a random voxel of a random occupied cell; of any cell if none is occupied."""
    table = facts.occupied_before
    total = int(table[(-1,) * table.ndim])
    if total == 0:
        return tuple(int(generator.integers(count)) for count in facts.shape)
    number = int(generator.integers(total))
    corner = []
    for _ in facts.shape:
        # Cells are counted plane by plane, then row by row, then cell by cell.
        ends: tuple[slice | int, ...] = (slice(None), *(-1,) * (table.ndim - 1))
        along = table[ends]
        index = int(np.searchsorted(along, number, side="right")) - 1
        corner.append(index)
        number -= int(along[index])
        table = table[index + 1] - table[index]
    return random_voxel_of(corner, facts, generator)


def random_voxel_of(corner: list[int], facts: VolumeFacts, generator: np.random.Generator) -> Shape:
    """Return a random voxel of a cell, every one as likely as any other.

    Args:
        corner: Which cell along each axis.
        facts: What is known of the volume.
        generator: Where chance comes from.
    """
    return tuple(
        index * edge + int(generator.integers(min(edge, count - index * edge)))
        for index, edge, count in zip(corner, facts.cell, facts.shape, strict=True)
    )
