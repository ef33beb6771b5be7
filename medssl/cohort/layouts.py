"""The layouts that labelled data comes in: Decathlon and nnU-Net folders, and tables."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from medssl.cohort.cases import Case, LabelledDataset, Problem, listed
from medssl.cohort.naming import known_patient
from medssl.errors import DatasetError

__all__ = ["read_folder", "read_table"]

_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".png", ".tif", ".tiff")
_SPLITS = {
    **dict.fromkeys(("train", "training", "tr"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "ts"), "test"),
}
_MOST_CLASSES = 20
"""More distinct whole numbers than this are quantities, such as ages, and not classes."""

Row = Mapping[str, str]
Problems = list[Problem] | None


def read_folder(folder: Path, problems: Problems = None) -> LabelledDataset:
    """Read a Decathlon or nnU-Net folder.

    Args:
        folder: The dataset.
        problems: Takes what is wrong with single cases, which are then left out; by default the
            first is raised.

    Raises:
        DatasetError: If an image or a mask stands alone, or ``dataset.json`` is not understood.
    """
    about = _json(folder / "dataset.json")
    if not (folder / "imagesTr").is_dir() or not (folder / "labelsTr").is_dir():
        raise DatasetError(
            f'"{folder.name}" has no imagesTr and labelsTr; expected a Decathlon or nnU-Net '
            "folder, or a table"
        )
    images = _images_by_case(folder / "imagesTr", problems, is_nnunet="channel_names" in about)
    masks = _files_by_case(folder / "labelsTr", problems)
    _check_pairs(set(images), set(masks), problems)
    splits = _splits(folder / "splits_final.json")
    cases = [
        Case(name, images[name], masks[name], None, _patient(name), splits.get(name))
        for name in sorted(set(images) & set(masks))
    ]
    return LabelledDataset(cases, _labels(about.get("labels", {}), "dataset.json"))


def read_table(path: Path, problems: Problems = None) -> LabelledDataset:
    """Read a ``.csv`` or ``.parquet`` table.

    Args:
        path: The table.
        problems: As for :func:`read_folder`.

    Raises:
        DatasetError: If columns or values are missing, or a split has an unknown name.
    """
    rows = _rows(path)
    columns = set(rows[0]) if rows else set()
    wanted = {"label", "target"} & columns
    if "image" not in columns or len(wanted) != 1:
        raise DatasetError(
            f'the table "{path.name}" has the columns {", ".join(sorted(columns)) or "none"}; '
            'expected "image" and one of "label" or "target"'
        )
    (kind,) = wanted
    empty = [str(number) for number, row in enumerate(rows, 1) if not row["image"] or not row[kind]]
    if empty:
        reason = f'rows {listed(empty)} of "{path.name}" have no image or no {kind}; remove them'
        _tell(problems, "images without label", reason, len(empty))
        rows = [row for row in rows if row["image"] and row[kind]]
    folder = path.parent
    if kind == "label":
        cases = [_case(row, folder, folder / row["label"], None, problems) for row in rows]
        return LabelledDataset(cases, _table_labels(path))
    targets, labels = _targets([row["target"] for row in rows])
    cases = [
        _case(row, folder, None, target, problems)
        for row, target in zip(rows, targets, strict=True)
    ]
    return LabelledDataset(cases, labels, "classification" if labels else "regression")


def _case(
    row: Row,
    folder: Path,
    label: Path | None,
    target: str | float | None,
    problems: Problems,
) -> Case:
    image = folder / row["image"]
    name = row.get("id") or case_name(image)
    split = row.get("split", "").lower()
    if split and split not in _SPLITS:
        reason = f'case "{name}": the split is "{split}"; expected train, val or test'
        _tell(problems, "unknown splits", reason)
    patient = row.get("patient") or known_patient(PurePosixPath(row["image"])) or name
    return Case(name, image, label, target, patient, _SPLITS.get(split))


def _patient(name: str) -> str:
    """Return the patient of a case: two visits that are named after one patient are one's."""
    return known_patient(PurePosixPath(name)) or name


def _tell(problems: Problems, kind: str, reason: str, count: int = 1) -> None:
    if problems is None:
        raise DatasetError(reason)
    problems.append(Problem(kind, reason, count))


def case_name(path: Path) -> str:
    """Return the name of a file without what says only its format.

    Example:
        >>> case_name(Path("imagesTr/liver_3.nii.gz"))
        'liver_3'
    """
    for suffix in _SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name if path.is_dir() else path.stem


def _rows(path: Path) -> list[Row]:
    """Return the rows as text; missing values are empty."""
    try:
        if path.suffix.lower() == ".parquet":
            rows = pq.read_table(path).to_pylist()
            return [{k: "" if v is None else str(v) for k, v in row.items()} for row in rows]
        if path.suffix.lower() == ".csv":
            with path.open(newline="", encoding="utf-8-sig") as file:
                return [
                    {k: (v or "").strip() for k, v in row.items()} for row in csv.DictReader(file)
                ]
    except (pa.ArrowException, OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f'the table "{path.name}" can\'t be read; is it damaged?') from error
    raise DatasetError(f'"{path.name}" is neither a folder nor a .csv or .parquet table')


def _targets(texts: Sequence[str]) -> tuple[list[str | float], dict[str, int]]:
    """Return targets and class numbers; no classes where the targets are quantities."""
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        numbers = []
    classes = sorted(set(texts))
    whole = all(number.is_integer() for number in numbers)
    if numbers and (not whole or len(set(numbers)) > _MOST_CLASSES):
        return list(numbers), {}
    if numbers:
        # 1 and 1.0 are one class, and 10 comes after 9.
        texts = [str(int(number)) for number in numbers]
        classes = sorted(set(texts), key=int)
    return list(texts), {name: number for number, name in enumerate(classes)}


def _images_by_case(folder: Path, problems: Problems, *, is_nnunet: bool) -> dict[str, Path]:
    files = _files_by_case(folder, problems)
    if not is_nnunet:
        return files
    images: dict[str, Path] = {}
    for name, path in files.items():
        case, _, channel = name.rpartition("_")
        if not re.fullmatch(r"\d{4}", channel):
            raise DatasetError(f'image "{name}" does not end in a channel number such as _0000')
        if channel != "0000":
            raise DatasetError(
                "the dataset has images of several channels; expected one, keep the files _0000"
            )
        images[case] = path
    return images


def _files_by_case(folder: Path, problems: Problems) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.name.lower().endswith(_SUFFIXES):
            continue
        if case_name(path) in files:
            reason = f'"{folder.name}" holds two files called "{case_name(path)}"'
            _tell(problems, "duplicate ids", reason)
        files[case_name(path)] = path
    return files


def _check_pairs(images: set[str], masks: set[str], problems: Problems) -> None:
    lonely = [f"image {name}" for name in sorted(images - masks)]
    lonely += [f"label {name}" for name in sorted(masks - images)]
    if lonely:
        reason = (
            f"{len(lonely)} files have no partner in imagesTr or labelsTr: {listed(lonely)}; "
            "remove them, or list the good pairs in a table"
        )
        _tell(problems, "files without partner", reason, len(lonely))


def _splits(path: Path) -> dict[str, str]:
    """Return the first fold of nnU-Net's splits."""
    if not path.is_file():
        return {}
    folds = _json(path)
    try:
        return {name: part for part in ("train", "val") for name in folds[0][part]}
    except (KeyError, IndexError, TypeError) as error:
        raise DatasetError(f'"{path.name}" is not a list of folds with train and val') from error


def _table_labels(path: Path) -> dict[str, int]:
    names = path.with_name(f"{path.stem}.labels.json")
    return _labels(_json(names), names.name) if names.is_file() else {}


def _labels(named: Any, source: str) -> dict[str, int]:
    """Return names and values: ``{"1": "liver"}`` of the Decathlon, ``{"liver": 1}`` of nnU-Net."""
    try:
        pairs = [
            (str(value), int(name)) if str(name).isdigit() else (str(name), int(value))
            for name, value in named.items()
        ]
    except (TypeError, ValueError, AttributeError) as error:
        raise DatasetError(
            f'the labels in "{source}" are not names with one whole number each; regions of '
            "several values are not supported"
        ) from error
    return {name: value for name, value in sorted(pairs, key=lambda pair: pair[1]) if value > 0}


def _json(path: Path) -> Any:
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f'"{path.name}" is not JSON; mend it') from error
