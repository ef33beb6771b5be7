"""How sixteen bits on disk stand for intensities in a network, the same number every time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Coding", "to_int16"]


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
        self, stored: npt.NDArray[np.int16], out: npt.NDArray[np.float32] | None = None
    ) -> npt.NDArray[np.float32]:
        """Return normalised intensities of the shape of ``stored``.

        Args:
            stored: Integers as read from disk.
            out: Where to write; a new array if none.
        """
        result = np.empty(stored.shape, np.float32) if out is None else out
        # In place throughout: memory for copies costs more than the arithmetic.
        np.copyto(result, stored)
        np.clip(result, np.float32(self.low), np.float32(self.high), out=result)
        if self.centre != 0:
            result -= np.float32(self.centre)
        result *= np.float32(self.scale)
        return result

    def decode_one(self, stored: int) -> float:
        """Return the normalised intensity of one stored value."""
        return float(self.decode(np.array([stored], np.int16))[0])


def to_int16(values: npt.NDArray[Any]) -> npt.NDArray[np.int16]:
    """Round to the nearest integers that sixteen bits hold; values beyond them saturate."""
    if values.dtype == np.int16:
        return values
    limits = np.iinfo(np.int16)
    whole = np.rint(values) if np.issubdtype(values.dtype, np.floating) else values
    return np.asarray(np.clip(whole, limits.min, limits.max), np.int16)
