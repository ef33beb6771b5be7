"""The sampler contract, the plain uniform sampler, and how a box is put into a volume."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from medssl.sampling.facts import VolumeFacts
from medssl.types import Box, Place, Shape

__all__ = ["Sampler", "Uniform", "around", "bounding_place", "near_middle", "random_box", "scatter"]


class Sampler(Protocol):
    """Decides where in a volume one training example comes from."""

    def place(self, facts: VolumeFacts, patch: Shape, generator: np.random.Generator) -> Place:
        """Return the region to read and the crops in it.

        Every random choice comes from ``generator``; the same facts and state give the same place.

        Args:
            facts: What is known of the volume.
            patch: Voxels along each edge of a crop; as many numbers as the volume has axes.
            generator: Where chance comes from.
        """
        ...


class Uniform:
    """Crops anywhere in the volume, every position of the first as likely as any other.

    An axis on which the volume is smaller than the crop has one position: the volume in the middle.

    Args:
        crops: How many crops of one place.
        spread: How far the other crops may lie from the first along each axis, in patches; all
            are cut from one region of ``1 + 2 * spread`` patches, so that one decode serves them.
    """

    def __init__(self, *, crops: int = 1, spread: float = 0.25) -> None:
        self.crops = crops
        self.spread = spread

    def place(self, facts: VolumeFacts, patch: Shape, generator: np.random.Generator) -> Place:
        """Return crops of one random region, see :class:`Sampler`."""
        whole = Box((0,) * len(facts.shape), facts.shape)
        first = random_box(whole, patch, generator)
        return scatter(first, facts.shape, self.crops, self.spread, generator)


def scatter(
    first: Box, shape: Shape, crops: int, spread: float, generator: np.random.Generator
) -> Place:
    """Return a place of one crop and others at random around it, inside the volume.

    Args:
        first: The first crop, in voxels of the volume.
        shape: Voxels along each axis of the volume.
        crops: Number of crops, the first included.
        spread: Farthest distance from the first along each axis, in edges of the crop.
        generator: Where chance comes from.
    """
    if crops == 1:
        return Place(first, (Box((0,) * len(shape), first.size),))
    low = [
        max(start - round(spread * edge), min(start, 0))
        for start, edge in zip(first.start, first.size, strict=True)
    ]
    high = [
        min(stop + round(spread * edge), max(stop, count))
        for stop, edge, count in zip(first.stop, first.size, shape, strict=True)
    ]
    within = Box(tuple(low), tuple(b - a for a, b in zip(low, high, strict=True)))
    others = [random_box(within, first.size, generator) for _ in range(crops - 1)]
    return bounding_place([first, *others])


def random_box(within: Box, size: Shape, generator: np.random.Generator) -> Box:
    """Return a box at a random position inside another, centred where it can't fit."""
    start = tuple(
        low + (int(generator.integers(count - edge + 1)) if count > edge else (count - edge) // 2)
        for low, count, edge in zip(within.start, within.size, size, strict=True)
    )
    return Box(start, size)


def around(point: Shape, size: Shape, shape: Shape) -> Box:
    """Return the box of ``size`` centred on a voxel, moved inside the volume where it fits.

    Args:
        point: The voxel to be in the middle.
        size: Voxels along each edge of the box.
        shape: Voxels along each axis of the volume.
    """
    start = tuple(
        min(max(middle - edge // 2, 0), count - edge) if count > edge else (count - edge) // 2
        for middle, edge, count in zip(point, size, shape, strict=True)
    )
    return Box(start, size)


def near_middle(
    voxel: Shape, size: Shape, shape: Shape, generator: np.random.Generator, *, jitter: float = 0.25
) -> Box:
    """Return a box that holds a voxel near its middle, inside the volume where it fits.

    A network that always sees what was looked for in the very centre learns the centre. Along an
    axis on which the box would leave the volume, any position that holds the voxel is taken: moving
    boxes inside would pile them up at the ends of the volume.

    Args:
        voxel: The voxel to be held.
        size: Voxels along each edge of the box.
        shape: Voxels along each axis of the volume.
        generator: Where chance comes from.
        jitter: Farthest distance from the middle of the box, in edges of it.
    """
    start = []
    for index, edge, count in zip(voxel, size, shape, strict=True):
        if count <= edge:
            start.append((count - edge) // 2)
            continue
        away = int(jitter * edge)
        begin = index - edge // 2
        if away:
            begin += int(generator.integers(-away, away + 1))
        if not 0 <= begin <= count - edge:
            low, high = max(index - edge + 1, 0), min(index, count - edge)
            begin = int(generator.integers(low, high + 1))
        start.append(begin)
    return Box(tuple(start), size)


def bounding_place(boxes: list[Box]) -> Place:
    """Return the place whose region is the smallest box that holds all crops.

    Args:
        boxes: The crops, in voxels of the volume.
    """
    low = np.min([box.start for box in boxes], axis=0)
    high = np.max([box.stop for box in boxes], axis=0)
    region = Box(tuple(int(a) for a in low), tuple(int(a) for a in high - low))
    return Place(region, tuple(Box(_minus(box.start, region.start), box.size) for box in boxes))


def _minus(a: Shape, b: Shape) -> Shape:
    return tuple(x - y for x, y in zip(a, b, strict=True))
