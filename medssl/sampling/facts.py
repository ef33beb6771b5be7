"""What a sampler may know of a volume: little enough to be kept for ten thousand of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medssl.types import Box, Shape

__all__ = ["VolumeFacts"]


@dataclass(frozen=True)
class VolumeFacts:
    """The facts that decide where crops come from; never the voxels themselves.

    Attributes:
        shape: Voxels along each axis of the stored volume, two or three numbers.
        spacing_mm: Distance between voxel centres along each axis.
        occupancy: ``(ceil(X / cell), …)`` bool; True where a cell is body, False where it is air.
        cell: Voxels along each edge of a cell; the last cell may reach past the end.
        label_voxels: For each label, ``(n, ndim)`` voxels that carry it, a sample where there are
            many; none for a volume without a mask. Labels that do not occur have no entry.
    """

    shape: Shape
    spacing_mm: tuple[float, ...]
    occupancy: npt.NDArray[np.bool_]
    cell: Shape
    label_voxels: Mapping[int, npt.NDArray[np.int32]] | None = None

    @property
    def body(self) -> Box:
        """The smallest box of voxels that holds all occupied cells; the whole volume if none is."""
        if not self.occupancy.any():
            return Box((0,) * len(self.shape), self.shape)
        starts, stops = [], []
        for axis, (count, edge) in enumerate(zip(self.shape, self.cell, strict=True)):
            others = tuple(other for other in range(len(self.shape)) if other != axis)
            filled = np.flatnonzero(self.occupancy.any(axis=others))
            starts.append(int(filled[0]) * edge)
            stops.append(min((int(filled[-1]) + 1) * edge, count))
        return Box(tuple(starts), tuple(b - a for a, b in zip(starts, stops, strict=True)))
