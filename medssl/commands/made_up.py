"""Volumes that exist only while they are asked for, to measure and try methods without data."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medssl.sampling.counter import rng
from medssl.sampling.facts import VolumeFacts
from medssl.types import Shape

__all__ = ["MadeUpStore"]

_EDGES = 3
"""A volume is so many patches wide, so that base crops and pairs find room."""


class MadeUpStore:
    """Noise in boxes, of one patient each; reads like a store.

    Args:
        patch: Voxels along each edge of the crops to come; planar ones are cut from volumes.
        count: How many volumes.
        labels: How many labels their masks have.

    Attributes:
        ids: Names of the volumes.
        labels: Values of the masks by name.
    """

    def __init__(self, patch: Shape, *, count: int, labels: int = 1) -> None:
        edges = tuple(_EDGES * edge for edge in patch)
        self.shape = edges if len(patch) == 3 else (*edges, edges[-1])
        self.ids = [f"volume{number}" for number in range(count)]
        self.labels = {f"label{value}": value for value in range(1, labels + 1)}

    def facts(self, volume: str) -> VolumeFacts:
        """Return what samplers may know: all of it is body, of three tissues."""
        cell = tuple(-(-count // 16) for count in self.shape)
        cells = np.ones(
            tuple(-(-n // edge) for n, edge in zip(self.shape, cell, strict=True)), bool
        )
        tissue = np.asarray(np.indices(cells.shape).sum(axis=0) % 3 + 1, np.uint8)
        return VolumeFacts(
            self.shape,
            (1.0,) * len(self.shape),
            cells,
            cell,
            tissue=tissue,
            tissue_names=("dark", "medium", "bright"),
            volume=volume,
        )

    def read(self, volume: str, start: Shape, size: Shape) -> npt.NDArray[np.float32]:
        """Return ``(1, *size)`` of noise in [-1, 1], the same for the same box."""
        noise = rng(self.ids.index(volume), abs(hash(start)) % 2**31)
        return noise.uniform(-1, 1, (1, *size)).astype(np.float32)

    def read_label(self, volume: str, start: Shape, size: Shape) -> npt.NDArray[np.int16]:
        """Return ``size`` labels, the higher the brighter, 0 where the noise is dark."""
        bright = np.clip(self.read(volume, start, size)[0], 0.0, None)
        return np.asarray(np.ceil(bright * len(self.labels)), np.int16)
