"""The part of a box that lies inside a volume, and memory to read it into."""

from __future__ import annotations

import math
import threading

import numpy as np
import numpy.typing as npt

from medssl.types import Shape

__all__ = ["Scratch", "inside"]

_MOST_KEPT = 2**25
"""Voxels of the largest box whose memory is used again."""


def inside(start: Shape, size: Shape, shape: Shape) -> tuple[Shape, Shape, tuple[slice, ...]]:
    """Return the part of a box inside a volume: first voxel, end, and where it lies in the box.

    Raises:
        ValueError: If the box has not as many axes as the volume, or a size is not positive.

    Example:
        >>> inside((-2, 3), (4, 4), (10, 5))
        ((0, 3), (2, 5), (slice(2, 4, None), slice(0, 2, None)))
    """
    if not len(start) == len(size) == len(shape) or min(size) < 1:
        raise ValueError(
            f"a box at {tuple(start)} of size {tuple(size)} does not suit {shape} voxels"
        )
    low = tuple(min(max(int(a), 0), count) for a, count in zip(start, shape, strict=True))
    stop = [a + edge for a, edge in zip(start, size, strict=True)]
    high = tuple(max(min(int(b), count), a) for b, count, a in zip(stop, shape, low, strict=True))
    inner = tuple(slice(a - first, b - first) for a, b, first in zip(low, high, start, strict=True))
    return low, high, inner


class Scratch(threading.local):
    """Memory for the integers of a box, used again and again; each thread has its own.

    Fresh memory costs more than what is done to it: the system clears every page at first touch.
    """

    def __init__(self) -> None:
        self._voxels = np.empty(0, np.int16)

    def __reduce__(self) -> tuple[type[Scratch], tuple[()]]:
        """Leave the memory behind: another process has its own."""
        return Scratch, ()

    def of(self, shape: Shape) -> npt.NDArray[np.int16]:
        """Return memory of a shape, with anything in it."""
        count = math.prod(shape)
        if count > _MOST_KEPT:
            return np.empty(shape, np.int16)
        if self._voxels.size < count:
            self._voxels = np.empty(count, np.int16)
        return self._voxels[:count].reshape(shape)
