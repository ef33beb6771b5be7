"""Where a store's volumes come from: a cohort, or a dataset with labels."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from medssl.cohort.cohort import Cohort
from medssl.cohort.datasets import Case, LabelledDataset
from medssl.errors import InputError
from medssl.io.geometry import ras_axes
from medssl.io.read import read_volume
from medssl.types import Modality, Volume

__all__ = ["CohortSource", "DatasetSource", "Source", "median_spacing_mm"]

_OF_THE_FILE = ("shape", "spacing_mm", "orientation", "affine", "dtype", "modality")
_LEFT_BEHIND = ("source", "files", "part", *_OF_THE_FILE)
"""Columns of a cohort that say how to find a volume again, which a store never does."""


class Source(Protocol):
    """Gives volumes by name; picklable, because workers ask too."""

    @property
    def ids(self) -> Sequence[str]:
        """Names of the volumes, in the order of the store's table."""

    @property
    def labels(self) -> Mapping[str, int]:
        """Names of the labels and their values; empty without masks."""

    @property
    def every_one_counts(self) -> bool:
        """Whether a volume that can't be used stops the rest."""

    def row(self, volume: str) -> Mapping[str, Any]:
        """Return what the store's table shall tell of a volume beside what preparing finds out."""

    def stamp(self, volume: str) -> str:
        """Return a word that changes when the volume's content does."""

    def load(self, volume: str) -> tuple[Volume, Volume | None]:
        """Return a volume, and its mask on the same grid if it has one.

        Raises:
            InputError: If it can't be used.
        """


class CohortSource:
    """The admitted volumes of a cohort, each content once; bad ones are left out."""

    every_one_counts = False

    def __init__(self, cohort: Cohort) -> None:
        self.cohort = cohort
        self.labels: dict[str, int] = {}

    @functools.cached_property
    def ids(self) -> list[str]:
        """Names of the volumes; copies of another volume are left out."""
        return [v for v in self.cohort.ids if not self.cohort.row(v)["duplicate_of"]]

    def row(self, volume: str) -> dict[str, Any]:
        """Return the cohort's row; columns that describe the file get ``source_`` before them."""
        row = self.cohort.row(volume)
        described = {f"source_{column}": row[column] for column in _OF_THE_FILE}
        kept = {name: value for name, value in row.items() if name not in _LEFT_BEHIND}
        return {**kept, **described}

    def stamp(self, volume: str) -> str:
        """Return the name itself: a cohort's names come from the content."""
        return volume

    def load(self, volume: str) -> tuple[Volume, None]:
        """Read a volume from where it was indexed."""
        return self.cohort.read(volume), None


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

    @functools.cached_property
    def _cases(self) -> dict[str, Case]:
        return {case.id: case for case in self.dataset.cases}

    @functools.cached_property
    def ids(self) -> list[str]:
        """Names of the cases."""
        return list(self._cases)

    def row(self, volume: str) -> dict[str, Any]:
        """Return whose a case is, its split and its target."""
        case = self._cases[volume]
        target = None if case.target is None else str(case.target)
        return {"id": case.id, "patient": case.patient, "split": case.split, "target": target}

    def stamp(self, volume: str) -> str:
        """Return sizes and times of the case's files."""
        case = self._cases[volume]
        paths = [path for path in (case.image, case.label) if path is not None]
        files = [file for path in paths for file in ([path] if path.is_file() else path.iterdir())]
        marks = sorted(f"{file.stat().st_size}-{file.stat().st_mtime_ns}" for file in files)
        return " ".join([*marks, self.modality or ""])

    def load(self, volume: str) -> tuple[Volume, Volume | None]:
        """Read a case and its mask, which is checked against the image and the labels."""
        case = self._cases[volume]
        image = read_volume(case.image)
        mask = None if case.label is None else self.dataset.read_mask(case, image)
        return replace(image, modality=self.modality or image.modality), mask


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
