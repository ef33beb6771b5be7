"""Randomness as a pure function of a seed and counters, so that any crop can be drawn again alone.

Nothing here has a state: which volume sample ``n`` comes from, and where in it, does not depend on
the samples before it, the number of workers or the number of devices.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

__all__ = ["rng", "volume_index"]

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


@functools.lru_cache(maxsize=8)
def _order(seed: int, epoch: int, count: int) -> npt.NDArray[np.int64]:
    """Return the order of the volumes in one epoch; kept, because every sample of it asks."""
    return _stream(_ORDER, seed, epoch).permutation(count)


def _stream(family: int, seed: int, *counters: int) -> np.random.Generator:
    """Return a Philox generator whose key is hashed from all that is given.

    The number of counters is hashed too: a seed sequence pads with zeros, so that without it
    ``(7,)`` and ``(7, 0)`` would be one stream.
    """
    words = [value % _WORD for value in (family, seed, len(counters), *counters)]
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(words)))
