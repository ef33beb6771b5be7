"""What a cohort is made of, and what follows from it: the voxel size to take, the room to have."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medssl.cohort.cohort import Cohort
from medssl.errors import InputError, OutputError
from medssl.io.geometry import ras_axes

__all__ = ["Fingerprint", "check_room", "fingerprint_of"]

Float64 = npt.NDArray[np.float64]

_THICK = 3.0
"""Voxels this many times as long as wide are of a scan in thick slices, as nnU-Net has it."""

_SPREAD = 2.0
"""Spacings that differ this much between the quarters of a cohort do not suit one grid well."""

_BYTES_A_VOXEL = 1.3
"""On disk. Measured: 0.9 and 1.1 for CT, 1.1 and 1.2 for MR with air, 1.6 for MR of brain alone."""

_MEGABYTE = 10**6


@dataclass(frozen=True)
class Fingerprint:
    """Sizes and spacings of a cohort's volumes, each content once.

    Attributes:
        shapes: ``(volumes, 3)`` voxels along each RAS+ axis; a planar image has one slice.
        spacings_mm: ``(volumes, 3)``; of a planar image the third is 1.
        is_planar: ``(volumes,)``, which have two axes.
        modalities: How many there are of each.
    """

    shapes: Float64
    spacings_mm: Float64
    is_planar: npt.NDArray[np.bool_]
    modalities: Mapping[str, int]

    def __len__(self) -> int:
        """Return the number of volumes."""
        return len(self.shapes)

    @property
    def median_spacing_mm(self) -> tuple[float, float, float]:
        """The spacing that half of the volumes are finer than, along each RAS+ axis.

        Raises:
            InputError: If there is no volume of three axes.
        """
        solid = self.spacings_mm[~self.is_planar]
        if not len(solid):
            raise InputError("no volume has three axes, so there is no median spacing; use native")
        right, front, top = (float(f"{edge:.4g}") for edge in np.median(solid, axis=0))
        return right, front, top

    def voxels(self, spacing_mm: tuple[float, ...] | None) -> float:
        """Return how many voxels the volumes have on a grid of this voxel size, or on their own."""
        if spacing_mm is None:
            return float(self.shapes.prod(axis=1).sum())
        wanted = np.array((*spacing_mm, 1.0)[:3])
        counts = np.maximum(1, np.rint(self.shapes * self.spacings_mm / wanted))
        counts[self.is_planar, 2] = 1
        return float(counts.prod(axis=1).sum())

    def reasons(self, spacing_mm: tuple[float, ...] | None) -> list[str]:
        """Return what speaks for and against a voxel size, a sentence each.

        Args:
            spacing_mm: Of the new grid; none keeps each volume's own.
        """
        solid = ~self.is_planar
        if not solid.any():
            return ["planar images keep their own pixels"]
        spacings, sizes = self.spacings_mm[solid], self.shapes[solid]
        low, high = np.percentile(spacings, (25, 75), axis=0)
        said = []
        if spacing_mm is None:
            said.append(f"every volume keeps its own voxels, half of them {_range(low, high)} mm")
        edges = np.median(spacings, axis=0) if spacing_mm is None else np.array(spacing_mm)[:3]
        if edges.max() >= _THICK * edges.min():
            said.append(_on_thick_slices(edges))
        if spacing_mm is not None and (high >= _SPREAD * low).any():
            said.append(
                f"half of the volumes have voxels of {_range(low, high)} mm, so many are enlarged "
                "or shrunk a good deal; if they are of several kinds, index and prepare each alone"
            )
        extent = np.median(sizes * spacings, axis=0)
        grid = np.maximum(1, np.rint(extent / edges))
        said.append(
            f"the median volume then has {_by(grid)} voxels for {_by(np.rint(extent))} mm; a crop "
            f"of {_by(_crop(grid, edges))} covers {_by(np.rint(_crop(grid, edges) * edges))} mm"
        )
        return said


def fingerprint_of(cohort: Cohort, without: Collection[str] = ()) -> Fingerprint:
    """Return the fingerprint of a cohort.

    Args:
        cohort: What ``index`` admitted.
        without: Names of volumes that do not count.
    """
    shapes, spacings, planar = [], [], []
    modalities: Counter[str] = Counter()
    gone = set(without)
    columns = ["id", "shape", "spacing_mm", "affine", "modality", "duplicate_of"]
    for batch in cohort.table.select(columns).to_batches(max_chunksize=1000):
        for row in batch.to_pylist():
            if row["duplicate_of"] is None and row["id"] not in gone:
                shape, spacing = _in_ras(row)
                shapes.append(shape)
                spacings.append(spacing)
                planar.append(len(row["shape"]) == 2)
                modalities[row["modality"]] += 1
    return Fingerprint(
        np.array(shapes, np.float64).reshape(-1, 3),
        np.array(spacings, np.float64).reshape(-1, 3),
        np.array(planar, np.bool_),
        modalities,
    )


def check_room(voxels: float, out: Path) -> str:
    """Return how large a store will be, in words, unless the disk can't hold it.

    Args:
        voxels: Of all volumes together.
        out: The folder of the store; what an earlier call wrote there counts as room.

    Raises:
        OutputError: If the disk is too small.
    """
    wanted = voxels * _BYTES_A_VOXEL
    there = sum(path.stat().st_size for path in out.glob("data/*/*.b2nd"))
    place = next(folder for folder in (out, *out.resolve().parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    if wanted > free + there:
        raise OutputError(
            f"the store will take about {_bytes(wanted)} and {_bytes(free)} are free where --out "
            "is; choose another --out, a coarser --spacing, or make room"
        )
    return f"about {_bytes(wanted)} on disk, {_bytes(free)} are free"


def _in_ras(row: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Return shape and spacing of a row along the axes in RAS+."""
    affine = np.asarray(row["affine"], np.float64).reshape(4, 4)
    axes = [old for old, _ in ras_axes(affine, len(row["shape"]))]
    shape, spacing = ([row[name][axis] for axis in axes] for name in ("shape", "spacing_mm"))
    missing = 3 - len(axes)
    return shape + [1.0] * missing, spacing + [1.0] * missing


def _on_thick_slices(edges: Float64) -> str:
    ratio = edges.max() / edges.min()
    thin = " ".join(f"{edge:g}" for edge in np.minimum(edges, edges.min() * 2).round(2))
    return (
        f"slices are {ratio:.1f} times as thick as pixels are wide, and are kept so, because finer "
        f"ones would be guessed; an encoder that wants cubes gets nearer to them with --spacing "
        f"{thin}"
    )


def _crop(grid: Float64, edges: Float64) -> Float64:
    """Return the edges of a crop of about 96 cubed voxels, as cubic in space as the grid allows."""
    wanted = 96 * np.prod(edges) ** (1 / 3) / edges
    most = np.maximum(16, grid // 16 * 16)
    return np.asarray(np.clip(np.rint(wanted / 16) * 16, 16, np.minimum(most, 256)))


def _range(low: Float64, high: Float64) -> str:
    return f"{_by(low)} to {_by(high)}"


def _by(edges: Float64) -> str:
    return " x ".join(f"{edge:.4g}" for edge in edges)


def _bytes(count: float) -> str:
    unit, name = (10**9, "GB") if count >= 10**9 else (_MEGABYTE, "MB")
    return f"{max(0.1, count / unit):.1f} {name}"
