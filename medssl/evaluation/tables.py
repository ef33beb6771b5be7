"""Tables of targets, class probabilities and features, as people and commands write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from medssl.errors import InputError
from medssl.evaluation.pairs import case_name
from medssl.registry import nearest

__all__ = ["Features", "Probabilities", "Targets", "read_classes", "read_features", "read_targets"]

PROBABILITY = "probability_"
"""What a column of class probabilities begins with; the rest is the name of the class."""


@dataclass(frozen=True)
class Targets:
    """What is true of each case.

    Attributes:
        target: Case to its class or number, as text.
        patient: Case to its patient; the case itself where the table does not say.
    """

    target: Mapping[str, str]
    patient: Mapping[str, str]

    def numbers(self) -> dict[str, float] | None:
        """Return the targets as numbers if they are measurements, none if they are classes.

        Whole numbers of which there are few are classes: 0 and 1, or grades 1 to 5.
        """
        try:
            values = {case: float(text) for case, text in self.target.items()}
        except ValueError:
            return None
        distinct = set(values.values())
        whole = all(value.is_integer() for value in distinct)
        return None if whole and len(distinct) <= 10 else values


@dataclass(frozen=True)
class Probabilities:
    """What a classifier said.

    Attributes:
        ids: Case of each row.
        classes: Name of each column.
        values: ``(cases, classes)``.
    """

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    values: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Features:
    """One vector a case, as ``medssl embed`` writes them.

    Attributes:
        ids: Case of each row.
        vectors: ``(cases, dimensions)``.
    """

    ids: tuple[str, ...]
    vectors: npt.NDArray[np.float32]


def read_targets(path: Path) -> Targets:
    """Read a table with ``target`` and ``id`` or ``image``, and perhaps ``patient``.

    Raises:
        InputError: If a column is missing or a case occurs twice.
    """
    rows = _rows(path)
    names = _case_names(path, rows)
    if "target" not in rows[0]:
        raise InputError(f'"{path.name}" has no column "target"; {nearest("target", rows[0])}')
    patients = [str(row["patient"]) if row.get("patient") else None for row in rows]
    return Targets(
        target={name: _text(row["target"]) for name, row in zip(names, rows, strict=True)},
        patient={name: patient or name for name, patient in zip(names, patients, strict=True)},
    )


def read_classes(path: Path) -> Probabilities:
    """Read a table of class probabilities, columns ``id`` and ``probability_NAME``.

    Raises:
        InputError: If a column is missing or a case occurs twice.
    """
    rows = _rows(path)
    columns = [name for name in rows[0] if name.startswith(PROBABILITY)]
    if len(columns) < 2:
        raise InputError(
            f'"{path.name}" has no class probabilities; expected a column "{PROBABILITY}NAME" for '
            "each class, as `medssl predict` writes them"
        )
    return Probabilities(
        ids=tuple(_case_names(path, rows)),
        classes=tuple(name.removeprefix(PROBABILITY) for name in columns),
        values=np.array([[float(row[name]) for name in columns] for row in rows]),
    )


def read_features(path: Path) -> Features:
    """Read the features that ``medssl embed`` wrote.

    Raises:
        InputError: If the file is not such a table.
    """
    rows = _rows(path)
    if "features" not in rows[0]:
        raise InputError(
            f'"{path.name}" has no column "features"; give the file that `medssl embed` wrote'
        )
    vectors = np.array([row["features"] for row in rows], dtype=np.float32)
    return Features(tuple(_case_names(path, rows)), vectors)


def _rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a CSV or Parquet table, at least one."""
    if not path.is_file():
        raise InputError(f'there is no table "{path.name}"; give a .csv or .parquet file')
    try:
        if path.suffix.lower() == ".parquet":
            table = pyarrow.parquet.read_table(path)
        else:
            table = pyarrow.csv.read_csv(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f'"{path.name}" is not a table: {error}') from error
    rows: list[dict[str, Any]] = table.to_pylist()
    if not rows:
        raise InputError(f'the table "{path.name}" has no rows; expected one a case')
    return rows


def _case_names(path: Path, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if "id" in rows[0]:
        names = [str(row["id"]) for row in rows]
    elif "image" in rows[0]:
        names = [case_name(Path(str(row["image"]))) for row in rows]
    else:
        raise InputError(
            f'"{path.name}" has neither a column "id" nor "image"; {nearest("id", rows[0])}'
        )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f'the case {twice} occurs twice in "{path.name}"; expected one row a case')
    return names


def _text(value: Any) -> str:
    """Write a target so that 1 and 1.0 are the same class."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
