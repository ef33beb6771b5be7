"""What the loader needs of a store, so that crops may come from anywhere."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from medssl.sampling.facts import VolumeFacts
from medssl.store.coding import Coding
from medssl.types import Shape

__all__ = ["CropSource", "WithIntegers", "WithTable"]


class CropSource(Protocol):
    """What the loader needs of a store."""

    def facts(self, volume: str) -> VolumeFacts:
        """Return what samplers may know of a volume."""

    def read(self, volume: str, start: Shape, size: Shape) -> npt.NDArray[np.float32]:
        """Return ``(C, *size)`` normalised voxels, padded where the box leaves the volume."""

    def read_label(self, volume: str, start: Shape, size: Shape) -> npt.NDArray[np.int16]:
        """Return ``size`` labels, 0 where the box leaves the volume."""


@runtime_checkable
class WithIntegers(Protocol):
    """A store that can leave its voxels as they are."""

    def read_stored(
        self, volume: str, start: Shape, size: Shape
    ) -> tuple[npt.NDArray[np.int16], Coding]:
        """Return ``(C, *size)`` integers and how they become intensities."""


@runtime_checkable
class WithTable(Protocol):
    """A store that knows whose volumes it holds."""

    table: Any
    """Columns by name, one row a volume, as in ``volumes.parquet``."""
