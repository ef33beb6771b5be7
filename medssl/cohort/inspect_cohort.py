"""A cohort looked through: is its table sound, and is each volume where and what it was?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from medssl.cohort.admit import voxel_hash
from medssl.cohort.cases import Problem, listed
from medssl.cohort.cohort import Cohort
from medssl.errors import GeometryError, InputError, VolumeReadError
from medssl.io.geometry import corner_distance_mm
from medssl.types import Volume

__all__ = ["inspect_cohort"]

_MOST_APART_MM = 0.01


def inspect_cohort(cohort: Cohort) -> list[Problem]:
    """Check ids and ties of the table, the privacy of its files, and read every volume again."""
    problems = [*_of_table(cohort), *_of_files(cohort)]
    for volume in cohort.ids:
        problems += _of_volume(cohort, volume)
    return problems


def _of_table(cohort: Cohort) -> Iterator[Problem]:
    twice = [name for name, count in Counter(cohort.ids).items() if count > 1]
    if twice:
        yield Problem("ids that are not unique", f"several volumes are called {listed(twice)}")
    there = set(cohort.ids)
    columns = [cohort.table[name].to_pylist() for name in ("id", "patient", "duplicate_of")]
    for name, patient, original in zip(*columns, strict=True):
        if not patient:
            yield Problem("volumes of nobody", f"volume {name} has no patient; index again")
        if original is not None and original not in there:
            text = f"volume {name} is a copy of {original}, which is not in the table; index again"
            yield Problem("copies of nothing", text)


def _of_files(cohort: Cohort) -> Iterator[Problem]:
    for name in ("volumes.parquet", "quarantine.csv", "sources.json", "index.db"):
        file = cohort.path / name
        if file.is_file() and file.stat().st_mode & 0o077:
            text = f"{name} holds paths and can be read by others; chmod 600 it"
            yield Problem("files open to others", text)


def _of_volume(cohort: Cohort, volume: str) -> Iterator[Problem]:
    try:
        read = cohort.read(volume)
    except VolumeReadError as error:
        yield Problem("volumes that can't be read", str(error))
        return
    except InputError as error:
        yield Problem("volumes that can't be read", f'volume "{volume}": {error}')
        return
    row = cohort.row(volume)
    apart = _apart_mm(row, read)
    if apart is None:
        text = f"volume {volume} has {read.data.shape} voxels and the table {row['shape']}"
        yield Problem("volumes of another place", text)
    elif apart > _MOST_APART_MM:
        text = f"a corner of volume {volume} lies {apart:.2f} mm from where the table says"
        yield Problem("volumes of another place", text)
    if voxel_hash(read) != row["voxel_hash"]:
        text = f"volume {volume} has other voxels than when it was indexed; index again"
        yield Problem("volumes that changed", text)


def _apart_mm(row: dict[str, Any], read: Volume) -> float | None:
    """Return how far a corner lies from where the table has it; None for another shape."""
    if tuple(row["shape"]) != read.data.shape:
        return None
    affine = np.asarray(row["affine"], np.float64).reshape(4, 4)
    try:
        return float(corner_distance_mm(read.data.shape, affine, read.data.shape, read.affine))
    except GeometryError:
        return None
