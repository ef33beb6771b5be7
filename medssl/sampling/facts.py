"""What a sampler may know of a volume: little enough to be kept for ten thousand of them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medssl.types import Box, Shape

__all__ = ["VolumeFacts"]


@dataclass(frozen=True, eq=False)
class VolumeFacts:
    """The facts that decide where crops come from; never the voxels themselves.

    Two facts are the same only if they are one object: what is worked out of them is kept by it.

    Attributes:
        shape: Voxels along each axis of the stored volume, two or three numbers.
        spacing_mm: Distance between voxel centres along each axis.
        occupancy: ``(ceil(X / cell), …)`` bool; True where a cell is body, False where it is air.
        cell: Voxels along each edge of a cell; the last cell may reach past the end.
        label_voxels: For each label, ``(n, ndim)`` voxels that carry it, a sample where there are
            many; none for a volume without a mask. Labels that do not occur have no entry.
        tissue: What tissue a cell holds, uint8 of the shape of ``occupancy``: 0 is none, ``n`` is
            ``tissue_names[n - 1]``. None if it was never worked out.
        tissue_names: Names of the tissues.
        volume: The store's name of the volume; empty where it has none.
    """

    shape: Shape
    spacing_mm: tuple[float, ...]
    occupancy: npt.NDArray[np.bool_]
    cell: Shape
    label_voxels: Mapping[int, npt.NDArray[np.int32]] | None = None
    tissue: npt.NDArray[np.uint8] | None = None
    tissue_names: tuple[str, ...] = ()
    volume: str = ""

    @functools.cached_property
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

    @functools.cached_property
    def occupied_before(self) -> npt.NDArray[np.int32]:
        """How many occupied cells lie before each corner of the grid along all axes.

        One longer than the grid along each axis; the occupied cells of any box of cells are a sum
        of its corners (Crow 1984), however large the box.
        """
        table = np.pad(self.occupancy.astype(np.int32), [(1, 0)] * self.occupancy.ndim)
        for axis in range(table.ndim):
            np.cumsum(table, axis=axis, out=table)
        return table

    @functools.cached_property
    def tissue_cells(self) -> dict[int, npt.NDArray[np.int32]]:
        """The cells of each tissue that occurs, as positions in the flattened grid."""
        if self.tissue is None:
            return {}
        flat = self.tissue.ravel()
        found = (np.flatnonzero(flat == n + 1) for n in range(len(self.tissue_names)))
        return {n + 1: cells.astype(np.int32) for n, cells in enumerate(found) if cells.size}
