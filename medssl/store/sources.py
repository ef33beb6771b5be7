"""Where a store's volumes come from: a cohort, or a dataset with labels."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute

from medssl.cohort.cohort import Cohort
from medssl.cohort.datasets import Case, LabelledDataset
from medssl.cohort.split import tied_patients
from medssl.errors import InputError
from medssl.io.geometry import ras_axes
from medssl.io.read import read_volume
from medssl.types import Modality, Volume

__all__ = ["CohortSource", "DatasetSource", "Item", "Source", "median_spacing_mm"]

_OF_THE_FILE = ("shape", "spacing_mm", "orientation", "affine", "dtype", "modality")
_LEFT_BEHIND = ("source", "files", "part", *_OF_THE_FILE)
"""Columns of a cohort that say how to find a volume again, which a store never does."""
_TYING = ("id", "patient", "duplicate_of")


class Item(Protocol):
    """One volume of a source, with all that a worker needs to read it and nothing else."""

    @property
    def id(self) -> str:
        """Name of the volume."""

    @property
    def row(self) -> Mapping[str, Any]:
        """What the store's table shall tell of it beside what preparing finds out."""

    def stamp(self) -> str:
        """Return a word that changes when the volume's content does."""

    def load(self) -> tuple[Volume, Volume | None]:
        """Return the volume, and its mask on the same grid if it has one.

        Raises:
            InputError: If it can't be used.
        """


class Source(Protocol):
    """Gives volumes one by one, so that memory does not grow with their number."""

    @property
    def labels(self) -> Mapping[str, int]:
        """Names of the labels and their values; empty without masks."""

    @property
    def every_one_counts(self) -> bool:
        """Whether a volume that can't be used stops the rest."""

    def __len__(self) -> int:
        """Return the number of volumes."""

    def __iter__(self) -> Iterator[Item]:
        """Yield the volumes in the order of the store's table."""


@dataclass(frozen=True)
class _CohortItem:
    """A volume of a cohort; its name comes from its content, so it is its stamp too."""

    cohort: Cohort
    row: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.row["id"])

    def stamp(self) -> str:
        return self.id

    def load(self) -> tuple[Volume, None]:
        return self.cohort.read(self.id), None


class CohortSource:
    """The admitted volumes of a cohort, each content once; bad ones are left out.

    Args:
        cohort: Where they are.
        without: Names of volumes that are left out.
    """

    every_one_counts = False

    def __init__(self, cohort: Cohort, without: Collection[str] = ()) -> None:
        self.cohort = cohort
        self.labels: dict[str, int] = {}
        table = cohort.table
        is_wanted = pa.compute.is_null(table["duplicate_of"])
        if without:
            gone = pa.compute.is_in(table["id"], pa.array(sorted(without), pa.string()))
            is_wanted = pa.compute.and_(is_wanted, pa.compute.invert(gone))
        self._numbers = np.flatnonzero(is_wanted.to_numpy())

    def __len__(self) -> int:
        """Return the number of volumes; copies of another volume do not count."""
        return len(self._numbers)

    def __iter__(self) -> Iterator[Item]:
        """Yield the volumes; columns that describe the file get ``source_`` before them."""
        columns = [self.cohort.table[name].to_pylist() for name in _TYING]
        # Patients that share a volume are one, as the copies stay out.
        patients = tied_patients(*columns)
        del columns
        for number in self._numbers.tolist():
            one = self.cohort.only(number)
            row = {**one.table.to_pylist()[0], "patient": patients[number]}
            described = {f"source_{column}": row[column] for column in _OF_THE_FILE}
            kept = {name: value for name, value in row.items() if name not in _LEFT_BEHIND}
            yield _CohortItem(one, {**kept, **described})


@dataclass(frozen=True)
class _DatasetItem:
    """A case of a labelled dataset."""

    dataset: LabelledDataset
    case: Case
    modality: Modality | None

    @property
    def id(self) -> str:
        return self.case.id

    @property
    def row(self) -> dict[str, Any]:
        case = self.case
        target = None if case.target is None else str(case.target)
        return {"id": case.id, "patient": case.patient, "split": case.split, "target": target}

    def stamp(self) -> str:
        """Return sizes and times of the case's files."""
        paths = [path for path in (self.case.image, self.case.label) if path is not None]
        files = [file for path in paths for file in ([path] if path.is_file() else path.iterdir())]
        marks = sorted(f"{file.stat().st_size}-{file.stat().st_mtime_ns}" for file in files)
        return " ".join([*marks, self.modality or ""])

    def load(self) -> tuple[Volume, Volume | None]:
        """Read a case and its mask, which is checked against the image and the labels."""
        image = read_volume(self.case.image)
        mask = None if self.case.label is None else self.dataset.read_mask(self.case, image)
        return replace(image, modality=self.modality or image.modality), mask


class DatasetSource:
    """The cases of a labelled dataset, with their masks if they have any; none is left out.

    Args:
        dataset: The cases.
        modality: What all images are to be taken for; none or ``unknown`` believes each of them.
    """

    every_one_counts = True

    def __init__(self, dataset: LabelledDataset, modality: Modality | None = None) -> None:
        self.dataset = dataset
        self.modality = None if modality == "unknown" else modality
        masked = any(case.label is not None for case in dataset.cases)
        self.labels = dict(dataset.labels) if masked else {}

    def __len__(self) -> int:
        """Return the number of cases."""
        return len(self.dataset.cases)

    def __iter__(self) -> Iterator[Item]:
        """Yield the cases in order."""
        alone = replace(self.dataset, cases=())
        for case in self.dataset.cases:
            yield _DatasetItem(alone, case, self.modality)


def median_spacing_mm(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float, float]:
    """Return the spacing that half of a cohort's volumes are finer than, along each RAS+ axis.

    Args:
        rows: Rows of a cohort; planar images do not count.

    Raises:
        InputError: If there is no volume of three axes.
    """
    spacings = []
    for row in rows:
        if len(row["shape"]) == 3:
            affine = np.asarray(row["affine"], np.float64).reshape(4, 4)
            spacings.append([row["spacing_mm"][old] for old, _ in ras_axes(affine, 3)])
    if not spacings:
        raise InputError("no volume has three axes, so there is no median spacing; use native")
    right, front, top = (float(f"{edge:.4g}") for edge in np.median(spacings, axis=0))
    return right, front, top
