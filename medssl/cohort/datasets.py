"""Labelled data: images, each with a mask or a target, whose it is and which split it is in.

Three layouts are read: a Medical Segmentation Decathlon or nnU-Net folder, and a table. What
contradicts itself is refused when the dataset is opened; masks are read once, when they are used.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from medssl.cohort.cases import Case, LabelledDataset, check_place, listed
from medssl.cohort.layouts import read_folder, read_table
from medssl.errors import DatasetError, VolumeReadError
from medssl.io.read import read_header, read_volume

__all__ = ["CHECKS", "Case", "LabelledDataset", "check_headers", "labels_in_masks", "open_dataset"]


def open_dataset(path: Path | str) -> LabelledDataset:
    """Open a labelled dataset and check that it does not contradict itself.

    Args:
        path: A folder with ``imagesTr`` and ``labelsTr`` (``dataset.json`` names the labels,
            ``splits_final.json`` is honoured, its first fold), or a ``.csv`` or ``.parquet`` table
            with ``image`` and one of ``label`` or ``target``, optional ``id``, ``patient``,
            ``split``. Paths in a table are relative to it. Names of its labels are in
            ``<table>.labels.json`` beside it, or else become ``label_1`` and so on.

    Raises:
        DatasetError: If files are missing or belong to nothing, ids are ambiguous, a patient or an
            image is in two splits, or a mask does not lie where its image does.
    """
    source = Path(path)
    if not source.exists():
        raise DatasetError(f'"{source.name}" does not exist; give a dataset folder or a table')
    dataset = read_folder(source) if source.is_dir() else read_table(source)
    if not dataset.cases:
        raise DatasetError(f'"{source.name}" holds no case')
    for check in CHECKS.values():
        check(dataset.cases)
    for case in dataset.cases:
        check_headers(case)
    if dataset.task == "segmentation" and not dataset.labels:
        return replace(dataset, labels=labels_in_masks(dataset.cases))
    return dataset


def _check_ids(cases: Iterable[Case]) -> None:
    counts = Counter(case.id.casefold() for case in cases)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise DatasetError(
            f"{len(twice)} case names occur more than once: {listed(twice)}; names differ by more "
            'than capital letters. A table can name its cases in a column "id"'
        )


def _check_files(cases: Iterable[Case]) -> None:
    gone = [
        f"{kind} of {case.id}"
        for case in cases
        for kind, path in (("image", case.image), ("label", case.label))
        if path is not None and not path.exists()
    ]
    if gone:
        raise DatasetError(f"{len(gone)} files do not exist: {listed(gone)}")


def _check_splits(cases: Iterable[Case]) -> None:
    """Look for patients in two splits; a message names their cases, not the patients."""
    patients: dict[str, dict[str, str]] = {}
    for case in cases:
        if case.split is not None:
            patients.setdefault(case.patient, {}).setdefault(case.split, case.id)
    torn = [found for found in patients.values() if len(found) > 1]
    if torn:
        examples = [
            " and ".join(f"{name} ({split})" for split, name in found.items()) for found in torn
        ]
        raise DatasetError(
            f"{len(torn)} patients are in more than one split: {listed(examples)} are of one "
            "patient. What is learnt from a patient must not be measured on the same one; mend the "
            "splits"
        )


def _check_images_apart(cases: Iterable[Case]) -> None:
    """Look for one image in two splits; files of one size are compared by content."""
    sizes: dict[int, list[Case]] = {}
    for case in cases:
        if case.split is not None and case.image.is_file():
            sizes.setdefault(case.image.stat().st_size, []).append(case)
    for group in sizes.values():
        if len({case.split for case in group}) < 2:
            continue
        first_of: dict[str, Case] = {}
        for case in group:
            with case.image.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            first = first_of.setdefault(content, case)
            if first.split != case.split:
                raise DatasetError(
                    f'cases "{first.id}" ({first.split}) and "{case.id}" ({case.split}) are the '
                    "same image; an image belongs to one split"
                )


CHECKS: Mapping[str, Callable[[Sequence[Case]], None]] = {
    "duplicate ids": _check_ids,
    "missing files": _check_files,
    "patients in several splits": _check_splits,
    "images in several splits": _check_images_apart,
}
"""What must hold between cases, and what is wrong where it does not."""


def check_headers(case: Case) -> None:
    """Compare image and mask by their headers alone.

    Raises:
        DatasetError: If one can't be read, or they do not lie in the same place.
    """
    if case.label is None:
        return
    headers = []
    for kind, path in (("image", case.image), ("mask", case.label)):
        try:
            headers.append(read_header(path))
        except VolumeReadError as error:
            raise DatasetError(
                f'case "{case.id}": the {kind} can\'t be used: {error.detail}'
            ) from error
    image, mask = headers
    check_place(case.id, mask.shape, mask.affine, image.shape, image.affine)


def labels_in_masks(cases: Iterable[Case]) -> dict[str, int]:
    """Return ``label_1`` and so on for the values that the masks hold: nothing names them.

    Raises:
        DatasetError: If they hold none.
    """
    found: set[int] = set()
    for case in cases:
        if case.label is not None:
            found |= set(np.unique(np.rint(read_volume(case.label).data)).astype(int).tolist())
    values = sorted(found - {0})
    if not values or values[0] < 0:
        raise DatasetError("the masks hold no label; expected whole numbers above 0")
    return {f"label_{value}": value for value in values}
