"""Pairs of crops that overlap by a set amount, and how the second lies to the first."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medssl.errors import ConfigError
from medssl.sampling.body import Body
from medssl.sampling.facts import VolumeFacts
from medssl.sampling.places import bounding_place
from medssl.sampling.position import body_coordinates
from medssl.types import Box, Place, Shape

__all__ = ["Pairs", "intersection_over_union"]

_BANDS = 8
"""The range of overlaps is cut into this many bands, each as likely as another: of all offsets most
would overlap little."""


class Pairs:
    """Two crops that overlap: voxels in both, by voxels in either, lie between two bounds.

    The bounds always hold. Offsets are not tried until one fits; those that fit are counted, and
    one is drawn. Both crops lie inside a box that holds enough of the body, and in the volume
    unless it is too small for two crops that overlap so little; then they leave it, and reading
    pads them. With a ``scale`` the second crop is larger or smaller than the patch and brought to
    its size when read; a flip is left to the views.

    The crops of a place are the two. Its targets, float32: ``iou``, a number;
    ``relative_position`` ``(ndim,)``, from the centre of the first to that of the second, in edges
    of the first; ``relative_size`` ``(ndim,)``, edges of the second by edges of the first; and
    ``position`` ``(2, ndim)``, where the two lie in the body.

    Args:
        iou: Least and greatest intersection over union, each in [0, 1].
        scale: Least and greatest edge of the second crop, in edges of the first.
        share: Least share of body in the box around both, see :class:`Body`.
    """

    def __init__(
        self,
        *,
        iou: tuple[float, float] = (0.25, 0.75),
        scale: tuple[float, float] = (1.0, 1.0),
        share: float = 0.5,
    ) -> None:
        if not 0 <= iou[0] <= iou[1] <= 1 or not 0 < scale[0] <= scale[1]:
            raise ConfigError(
                f"pairs with an overlap of {iou} and a scale of {scale} do not exist; give the "
                "lower bound first, overlaps between 0 and 1, scales above 0"
            )
        self.iou = iou
        self.scale = scale
        self.body = Body(share=share)

    def place(self, facts: VolumeFacts, patch: Shape, generator: np.random.Generator) -> Place:
        """Return two crops, see :class:`~medssl.sampling.places.Sampler`.

        Raises:
            ConfigError: If no two such crops overlap within the bounds, at any offset.
        """
        second = self._second_size(patch, generator)
        offset = self._offset(facts.shape, patch, second, generator)
        low = [min(0, step) for step in offset]
        size = tuple(
            max(edge, step + other) - least
            for edge, other, step, least in zip(patch, second, offset, low, strict=True)
        )
        corner = self.body.box(facts, size, generator).start
        start = tuple(a - least for a, least in zip(corner, low, strict=True))
        boxes = [
            Box(start, patch),
            Box(tuple(a + step for a, step in zip(start, offset, strict=True)), second),
        ]
        between = np.add(offset, np.subtract(second, patch) / 2)
        targets = {
            "iou": np.array(intersection_over_union(*boxes), np.float32),
            "relative_position": (between / patch).astype(np.float32),
            "relative_size": np.divide(second, patch).astype(np.float32),
            "position": np.stack([body_coordinates(facts, box) for box in boxes]),
        }
        place = bounding_place(boxes)
        return Place(place.region, place.crops, targets)

    def _second_size(self, patch: Shape, generator: np.random.Generator) -> Shape:
        low, high = self.scale
        if low == high == 1:
            return patch
        scale = math.exp(generator.uniform(math.log(low), math.log(high)))
        # A planar crop stays planar.
        return tuple(edge if edge == 1 else max(1, round(edge * scale)) for edge in patch)

    def _offset(
        self, shape: Shape, first: Shape, second: Shape, generator: np.random.Generator
    ) -> Shape:
        """Return the start of the second crop from that of the first."""
        low, high = self.iou
        width = (high - low) / _BANDS
        begin = low + width * int(generator.integers(_BANDS))
        # More room than both crops need side by side changes nothing, and would spoil the cache.
        room = tuple(
            min(max(count, a, b), a + b) for count, a, b in zip(shape, first, second, strict=True)
        )
        boundless = tuple(a + b for a, b in zip(first, second, strict=True))
        for space, bounds in (
            (room, (begin, begin + width)),
            (room, (low, high)),
            (boundless, (low, high)),
        ):
            offsets = _offsets(first, second, space, *bounds)
            if offsets.count:
                return offsets[int(generator.integers(offsets.count))]
        raise ConfigError(
            f"crops of {first} and {second} voxels overlap by an iou between {low} and {high} "
            "at no offset; use wider bounds, or a scale nearer to 1"
        )


@dataclass(frozen=True)
class _Offsets:
    """All offsets whose overlap lies within bounds, counted and not listed.

    Attributes:
        leading: Offsets along every axis but the last.
        last: Offsets along the last axis, by how much they overlap.
        first_of_last: For each choice of the leading ones, the first that fits of ``last``.
        running: Offsets up to and including each choice of the leading ones.
    """

    leading: list[npt.NDArray[np.int64]]
    last: npt.NDArray[np.int64]
    first_of_last: npt.NDArray[np.int64]
    running: npt.NDArray[np.int64]

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self.running[-1])

    def __getitem__(self, number: int) -> Shape:
        """Return one of them."""
        choice = int(np.searchsorted(self.running, number, side="right"))
        within = number - (int(self.running[choice - 1]) if choice else 0)
        corner = np.unravel_index(choice, [len(offsets) for offsets in self.leading])
        steps = [offsets[index] for offsets, index in zip(self.leading, corner, strict=True)]
        steps.append(self.last[self.first_of_last[choice] + within])
        return tuple(int(step) for step in steps)


@functools.lru_cache(maxsize=32)
def _offsets(first: Shape, second: Shape, room: Shape, low: float, high: float) -> _Offsets:
    """Return the offsets of two boxes with an overlap within bounds that fit into a room.

    Args:
        first: Edges of one box.
        second: Edges of the other.
        room: Longest edges of a box around both.
        low: Least intersection over union.
        high: Greatest.
    """
    both = math.prod(first) + math.prod(second)
    # Voxels are whole, so bounds on the share become bounds on their number.
    least, most = both * low / (1 + low) - 1e-6, both * high / (1 + high) + 1e-6
    offsets, shared = [], []
    for a, b, longest in zip(first, second, room, strict=True):
        steps = np.arange(-b, a + 1)
        spans = np.maximum(a, steps + b) - np.minimum(0, steps)
        steps = steps[spans <= longest]
        offsets.append(steps)
        shared.append(np.minimum(a, steps + b) - np.maximum(0, steps))
    order = np.argsort(shared[-1], kind="stable")
    along_last = shared[-1][order]
    so_far = functools.reduce(np.multiply.outer, shared[:-1]).ravel()
    with np.errstate(divide="ignore", invalid="ignore"):
        from_last = np.searchsorted(along_last, np.ceil(least / so_far), side="left")
        to_last = np.searchsorted(along_last, np.floor(most / so_far), side="right")
    apart = so_far == 0
    from_last[apart], to_last[apart] = 0, len(along_last) if least <= 0 else 0
    running = np.cumsum(np.maximum(to_last - from_last, 0))
    return _Offsets(offsets[:-1], offsets[-1][order], from_last, running)


def intersection_over_union(first: Box, second: Box) -> float:
    """Return the voxels in both boxes by the voxels in either.

    Example:
        >>> intersection_over_union(Box((0, 0), (4, 4)), Box((2, 0), (4, 4)))
        0.3333333333333333
    """
    edges = [
        max(0, min(a + m, b + n) - max(a, b))
        for a, m, b, n in zip(first.start, first.size, second.start, second.size, strict=True)
    ]
    both = math.prod(edges)
    return both / (math.prod(first.size) + math.prod(second.size) - both)
