"""A labelled dataset looked through to the last voxel: all that is wrong, not only the first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from medssl.cohort.admit import voxel_hash
from medssl.cohort.cases import Case, LabelledDataset, Problem
from medssl.cohort.datasets import CHECKS, check_headers, labels_in_masks
from medssl.cohort.layouts import read_folder, read_table
from medssl.errors import DatasetError, VolumeReadError
from medssl.io.read import read_volume
from medssl.types import Volume

__all__ = ["LabelFigures", "LabelInspection", "inspect_labels"]


@dataclass
class LabelFigures:
    """One label over all cases.

    Attributes:
        value: Its number in the masks.
        cases: How many cases have it.
        voxels: How many voxels, in all.
        millilitres: How much of the body, in all.
    """

    value: int
    cases: int = 0
    voxels: int = 0
    millilitres: float = 0.0


@dataclass
class LabelInspection:
    """What was found.

    Attributes:
        dataset: The cases that have an image and a mask or target.
        problems: What must be mended before anything is learnt.
        labels: Figures of each label, by its name.
        empty: Ids of cases whose masks hold background alone; allowed.
        splits: How many cases each split has; empty where the dataset says nothing.
    """

    dataset: LabelledDataset
    problems: list[Problem]
    labels: dict[str, LabelFigures] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)
    splits: dict[str, int] = field(default_factory=dict)


def inspect_labels(path: Path) -> LabelInspection:
    """Check a Decathlon or nnU-Net folder or a table: pairs, ids, splits, place, values.

    Every image and mask is read. One case's fault hides no other's.

    Args:
        path: As for :func:`~medssl.cohort.datasets.open_dataset`.

    Raises:
        DatasetError: If it is no dataset at all.
    """
    problems: list[Problem] = []
    dataset = read_folder(path, problems) if path.is_dir() else read_table(path, problems)
    for kind, check in CHECKS.items():
        try:
            check(dataset.cases)
        except DatasetError as error:
            problems.append(Problem(kind, str(error)))
    found = LabelInspection(dataset, problems)
    there = [case for case in dataset.cases if _exists(case)]
    if dataset.task == "segmentation" and not dataset.labels:
        found.dataset = dataset = replace(dataset, labels=_named_labels(there, problems))
    found.labels = {name: LabelFigures(value) for name, value in dataset.labels.items()}
    first_of: dict[str, Case] = {}
    for case in there:
        _inspect_case(found, case, first_of)
    for case in dataset.cases:
        if case.split is not None:
            found.splits[case.split] = found.splits.get(case.split, 0) + 1
    return found


def _exists(case: Case) -> bool:
    return case.image.exists() and (case.label is None or case.label.exists())


def _named_labels(cases: Iterable[Case], problems: list[Problem]) -> dict[str, int]:
    """Return names for the values of all masks that can be read; those that can't tell later."""
    readable: list[Case] = []
    for case in cases:
        try:
            check_headers(case)
        except DatasetError:
            continue
        readable.append(case)
    try:
        return labels_in_masks(readable)
    except VolumeReadError:
        return {}
    except DatasetError as error:
        problems.append(Problem("label values", str(error)))
        return {}


def _inspect_case(found: LabelInspection, case: Case, first_of: dict[str, Case]) -> None:
    try:
        image = read_volume(case.image)
    except VolumeReadError as error:
        text = f'case "{case.id}": the image can\'t be used: {error.detail}'
        found.problems.append(Problem("unreadable files", text))
        return
    first = first_of.setdefault(voxel_hash(image), case)
    if first is not case and first.split != case.split and not _same_bytes(first, case):
        text = (
            f'cases "{first.id}" ({first.split}) and "{case.id}" ({case.split}) hold the same '
            "voxels in different files; an image belongs to one split"
        )
        found.problems.append(Problem("images in several splits", text))
    if case.label is not None:
        _inspect_mask(found, case, image)


def _same_bytes(first: Case, second: Case) -> bool:
    """Say whether files are equal, which the check between cases has already told of."""
    return (
        first.image.is_file()
        and second.image.is_file()
        and first.image.stat().st_size == second.image.stat().st_size
        and first.image.read_bytes() == second.image.read_bytes()
    )


def _inspect_mask(found: LabelInspection, case: Case, image: Volume) -> None:
    try:
        mask = found.dataset.read_mask(case, image)
    except VolumeReadError as error:
        text = f'case "{case.id}": the mask can\'t be used: {error.detail}'
        found.problems.append(Problem("unreadable files", text))
        return
    except DatasetError as error:
        found.problems.append(Problem("masks that do not fit", str(error)))
        return
    counts = np.bincount(mask.data.ravel(), minlength=1)
    millilitres = abs(float(np.linalg.det(mask.affine[:3, :3]))) / 1000
    for figures in found.labels.values():
        voxels = int(counts[figures.value]) if figures.value < len(counts) else 0
        figures.cases += voxels > 0
        figures.voxels += voxels
        figures.millilitres += voxels * millilitres
    if not counts[1:].any():
        found.empty.append(case.id)
