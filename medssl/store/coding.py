"""How sixteen bits on disk stand for intensities in a network, the same number every time."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Coding", "to_int16"]

_LARGEST = 32767
"""The largest number of sixteen bits."""

_PIECE = 2**17
"""Voxels that are decoded at a time: their integers and intensities fit into a core's cache."""


@dataclass(frozen=True)
class Coding:
    """From a stored integer to an intensity: ``(clip(q, low, high) - centre) * scale``.

    It is applied voxel by voxel with two rounded operations, so that a crop read from a store and
    the same crop cut from a whole volume agree bit for bit.

    Attributes:
        low: Stored values below this count as this.
        high: Stored values above this count as this.
        centre: The stored value that becomes 0, the middle of the range.
        scale: Normalised intensity of one stored step.
    """

    low: int
    high: int
    centre: float
    scale: float

    def decode(
        self,
        stored: npt.NDArray[np.int16],
        out: npt.NDArray[np.float32] | None = None,
        *,
        spoil: bool = False,
    ) -> npt.NDArray[np.float32]:
        """Return normalised intensities of the shape of ``stored``.

        Args:
            stored: Integers as read from disk.
            out: Where to write; a new array if none.
            spoil: ``stored`` may be overwritten, which spares memory and time.
        """
        result = np.empty(stored.shape, np.float32) if out is None else out
        # Piece by piece: what one step has written the next finds in the cache of the core.
        step = max(1, _PIECE * len(stored) // max(1, stored.size))
        for first in range(0, len(stored), step):
            piece = stored[first : first + step]
            self._decode(piece, result[first : first + step], piece if spoil else None)
        return result

    def _decode(
        self,
        stored: npt.NDArray[np.int16],
        out: npt.NDArray[np.float32],
        scratch: npt.NDArray[np.int16] | None,
    ) -> None:
        low, high = (max(-_LARGEST - 1, min(_LARGEST, edge)) for edge in (self.low, self.high))
        whole = np.clip(stored, np.int16(low), np.int16(high), out=scratch)
        if self._steps is None:
            np.subtract(whole, np.float32(self.centre), out=out)
            np.multiply(out, np.float32(self.scale), out=out)
            return
        # Half the bytes are half the time: as long as it is exact, integers are worked on, and the
        # one multiplication turns them into fractions on the way.
        if self._steps == 2:
            np.add(whole, whole, out=whole)
        if self.centre != 0:
            # What wraps around here comes back: the difference fits into sixteen bits.
            np.subtract(whole, np.int64(self.centre * self._steps).astype(np.int16), out=whole)
        np.multiply(whole, np.float32(self.scale) / np.float32(self._steps), out=out)

    def decode_one(self, stored: int) -> float:
        """Return the normalised intensity of one stored value."""
        return float(self.decode(np.array([stored], np.int16))[0])

    @functools.cached_property
    def _steps(self) -> int | None:
        """Parts of a stored step that make the distance from the centre a whole, if it fits."""
        for steps in (1, 2):
            reach = max(abs(self.low - self.centre), abs(self.high - self.centre)) * steps
            if float(self.centre * steps).is_integer() and reach <= _LARGEST:
                return steps
        return None


def to_int16(values: npt.NDArray[Any]) -> npt.NDArray[np.int16]:
    """Round to the nearest integers that sixteen bits hold; values beyond them saturate."""
    if values.dtype == np.int16:
        return values
    limits = np.iinfo(np.int16)
    whole = np.rint(values) if np.issubdtype(values.dtype, np.floating) else values
    return np.asarray(np.clip(whole, limits.min, limits.max), np.int16)
