"""Base crops on a grid, random crops between them, and by how much they overlap (VoCo)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medssl.sampling.facts import VolumeFacts
from medssl.sampling.places import near_middle, random_box
from medssl.sampling.position import body_coordinates
from medssl.sampling.share import random_body_voxel
from medssl.types import Box, Place, Shape

__all__ = ["Grid", "overlap_shares"]


class Grid:
    """A window of adjacent base crops, and random crops in it with known overlaps.

    The window lies around a random place of the body, or at least holds it near an end of the
    volume. Where it does not fit, the volume is in its middle, boxes leave the volume, and reading
    pads them.

    The crops of a place are the base crops, the first axis of the grid slowest, then the random
    ones. Its targets are ``overlap`` ``(crops, bases)`` float32, the share of each random crop's
    volume that lies in each base crop, each row summing to 1; and ``base_position``
    ``(bases, ndim)`` float32, where the base crops lie in the body.

    Args:
        grid: Base crops along each axis; for planar crops the first two count.
        crops: Random crops of one place.
    """

    def __init__(self, *, grid: tuple[int, ...] = (3, 3, 1), crops: int = 2) -> None:
        if min(grid) < 1 or crops < 1:
            raise ValueError(f"a grid of {grid} with {crops} random crops is empty; use 1 or more")
        self.grid = grid
        self.crops = crops

    def place(self, facts: VolumeFacts, patch: Shape, generator: np.random.Generator) -> Place:
        """Return base crops and random crops, see :class:`~medssl.sampling.places.Sampler`."""
        grid = (*self.grid, 1, 1)[: len(patch)]
        size = tuple(count * edge for count, edge in zip(grid, patch, strict=True))
        voxel = random_body_voxel(facts, generator)
        region = near_middle(voxel, size, facts.shape, generator, jitter=0)
        bases = [
            Box(tuple(np.multiply(index, patch).tolist()), patch) for index in np.ndindex(grid)
        ]
        window = Box((0,) * len(patch), size)
        drawn = [random_box(window, patch, generator) for _ in range(self.crops)]
        positions = [
            body_coordinates(facts, Box(tuple(np.add(region.start, base.start).tolist()), patch))
            for base in bases
        ]
        targets = {"overlap": overlap_shares(drawn, bases), "base_position": np.stack(positions)}
        return Place(region, (*bases, *drawn), targets)


def overlap_shares(crops: list[Box], bases: list[Box]) -> npt.NDArray[np.float32]:
    """Return the share of each crop's volume that lies in each base, ``(len(crops), len(bases))``.

    Example:
        >>> bases = [Box((0, 0), (4, 4)), Box((4, 0), (4, 4))]
        >>> overlap_shares([Box((1, 0), (4, 4))], bases)
        array([[0.75, 0.25]], dtype=float32)
    """
    low = np.maximum([[crop.start] for crop in crops], [[base.start for base in bases]])
    high = np.minimum([[crop.stop] for crop in crops], [[base.stop for base in bases]])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    return np.asarray(shared / np.prod([crop.size for crop in crops], axis=1)[:, None], np.float32)
