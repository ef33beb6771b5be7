"""Randomness as a pure function of a seed and counters, so that any crop can be drawn again alone.

Nothing here has a state: which volume sample ``n`` comes from, and where in it, does not depend on
the samples before it, the number of workers or the number of devices.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["VolumeOrder", "rng", "volume_index"]

_WORD = 2**64
_ORDER, _DRAW = 0, 1
"""Two families of streams that never meet: the order of volumes, and the draws inside them."""


def rng(seed: int, *counters: int) -> np.random.Generator:
    """Return the generator that belongs to a seed and counters, always in the same fresh state.

    Args:
        seed: The seed of the run.
        *counters: What is drawn for, say the global number of a sample.

    Example:
        >>> float(rng(0, 7).random()) == float(rng(0, 7).random())
        True
        >>> float(rng(0, 7).random()) == float(rng(0, 7, 0).random())
        False
    """
    return _stream(_DRAW, seed, *counters)


def volume_index(seed: int, index: int, count: int) -> int:
    """Return which of ``count`` volumes sample number ``index`` comes from.

    Every run of ``count`` samples visits each volume once, in an order of its own.

    Args:
        seed: The seed of the run.
        index: Global number of the sample, from 0.
        count: Number of volumes, at least 1.

    Example:
        >>> sorted(volume_index(0, index, 5) for index in range(5))
        [0, 1, 2, 3, 4]
    """
    if count < 1 or index < 0:
        raise ValueError(f"sample {index} of {count} volumes does not exist")
    epoch, position = divmod(index, count)
    return int(_order(seed, epoch, count)[position])


class VolumeOrder:
    """Which volume each sample of a run comes from, with patients or other groups drawn evenly.

    Without groups every epoch visits each volume once. With groups it visits each of the outermost
    groups once; what a group shows is drawn evenly in turn among its own groups, and so on to the
    volumes. A patient of forty series then counts as much as one of a single series, and shows all
    forty before it repeats one, as evenly over its studies as can be.

    Args:
        seed: The seed of the run.
        count: Number of volumes, at least 1.
        groups: For each level, from the outermost, the group that each volume belongs to. Groups of
            one name in different outer groups are different.

    Example:
        >>> order = VolumeOrder(0, 4, [["ann", "ann", "ann", "bob"]])
        >>> order.epoch
        2
        >>> [sum(order[number] == 3 for number in range(2 * n, 2 * n + 2)) for n in range(4)]
        [1, 1, 1, 1]
    """

    def __init__(self, seed: int, count: int, groups: Sequence[Sequence[str]] = ()) -> None:
        if count < 1:
            raise ValueError("an order of 0 volumes does not exist; give at least 1")
        self.seed = seed
        self._levels: list[npt.NDArray[np.int64]] = []
        codes = np.zeros(count, np.int64)
        for names in groups:
            codes = _refined(codes, names)
            # Groups keep the order in which they come, so that groups of one change nothing.
            self._levels.append(codes)
        self._volumes = np.lexsort(self._levels[::-1]) if self._levels else np.arange(count)
        self._bounds = self._children([*self._levels, np.arange(count)])

    def _children(self, levels: list[npt.NDArray[np.int64]]) -> list[npt.NDArray[np.int64]]:
        """Return for each level where the children of each of its groups begin and end."""
        bounds, begins = [], np.array([0, len(self._volumes)])
        for codes in levels:
            sorted_codes = codes[self._volumes]
            starts = np.flatnonzero(np.diff(sorted_codes, prepend=-1))
            bounds.append(np.searchsorted(starts, begins))
            begins = np.append(starts, len(self._volumes))
        return bounds

    @property
    def epoch(self) -> int:
        """Samples in which every outermost group is visited once."""
        return int(self._bounds[0][1])

    def __getitem__(self, index: int) -> int:
        """Return which volume sample number ``index`` comes from."""
        if index < 0:
            raise IndexError(f"sample {index} does not exist; samples count from 0")
        group, visit = 0, index
        for level, bounds in enumerate(self._bounds):
            first, last = int(bounds[group]), int(bounds[group + 1])
            visit, position = divmod(visit, last - first)
            if last - first > 1:
                path = (level, group) if level else ()
                position = int(_order(self.seed, visit, last - first, *path)[position])
            group = first + position
        return int(self._volumes[group])


def _refined(codes: npt.NDArray[np.int64], names: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return numbers of groups within groups, in the order in which they first come."""
    inner = np.unique(np.asarray(names, str), return_inverse=True)[1]
    if len(inner) != len(codes):
        raise ValueError(f"{len(inner)} names of groups for {len(codes)} volumes; give one each")
    pairs = codes * (int(inner.max()) + 1) + inner
    _, first, numbers = np.unique(pairs, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[numbers], np.int64)


@functools.lru_cache(maxsize=64)
def _order(seed: int, epoch: int, count: int, *path: int) -> npt.NDArray[np.int64]:
    """Return the order of the volumes in one epoch; kept, because every sample of it asks."""
    return _stream(_ORDER, seed, epoch, *path).permutation(count)


def _stream(family: int, seed: int, *counters: int) -> np.random.Generator:
    """Return a Philox generator whose key is hashed from all that is given.

    The number of counters is hashed too: a seed sequence pads with zeros, so that without it
    ``(7,)`` and ``(7, 0)`` would be one stream.
    """
    words = [value % _WORD for value in (family, seed, len(counters), *counters)]
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(words)))
