"""What is known to be true: masks of a dataset or a plain folder, and their labels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medssl.cohort.datasets import open_dataset
from medssl.errors import DatasetError
from medssl.evaluation.pairs import files_by_case

__all__ = ["References", "open_references"]

TABLES = (".csv", ".parquet")


@dataclass(frozen=True)
class References:
    """Masks to judge by.

    Attributes:
        files: Mask of each case.
        labels: Name and value of each label; empty if nothing names them.
        patients: Patient of each case; empty if nothing says.
    """

    files: Mapping[str, Path]
    labels: Mapping[str, int] = field(default_factory=dict)
    patients: Mapping[str, str] = field(default_factory=dict)


def open_references(path: Path) -> References:
    """Read a labelled dataset, or a folder of masks whose labels a ``dataset.json`` may name.

    Args:
        path: A folder with ``dataset.json``, a table, or a folder of masks such as ``labelsTr``.

    Raises:
        DatasetError: If the dataset contradicts itself.
        InputError: If there is no mask.
    """
    if path.suffix.lower() in TABLES or (path / "dataset.json").is_file():
        dataset = open_dataset(path)
        files = {case.id: case.label for case in dataset.cases if case.label is not None}
        return References(
            files, dict(dataset.labels), {case.id: case.patient for case in dataset.cases}
        )
    return References(files_by_case(path), _named_labels(path.parent / "dataset.json"))


def _named_labels(path: Path) -> dict[str, int]:
    """Return the labels that a ``dataset.json`` of either dialect names, none if there is no file.

    The Decathlon writes ``{"1": "liver"}``, nnU-Net ``{"liver": 1}``.
    """
    if not path.is_file():
        return {}
    try:
        named = json.loads(path.read_text(encoding="utf-8")).get("labels", {})
        pairs = [(n, v) if str(v).isdigit() else (v, n) for n, v in named.items()]
        return {str(name): int(value) for name, value in pairs if int(value) > 0}
    except (ValueError, TypeError, AttributeError) as error:
        raise DatasetError(
            f'the labels in "{path.name}" can not be read; expected names and whole numbers'
        ) from error
