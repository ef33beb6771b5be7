"""What the report of a cohort counts, as columns: a hundred thousand volumes stay a few megabytes.

The table's paths and names are never touched; of the quarantine list only codes, details and line
numbers are kept, and no more of them than are shown.
"""

from __future__ import annotations

import csv
import functools
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from medssl.cohort.cohort import Cohort
from medssl.cohort.makers import maker

__all__ = ["CohortFacts", "Labels", "Refusal", "Refusals", "Removed", "read_facts"]

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

SHOWN_REFUSALS = 200
SHOWN_LINES = 5
SHOWN_REMOVED = 20
AXES, LEVELS = 3, 5


@dataclass(frozen=True)
class Labels:
    """A column of few different words.

    Attributes:
        names: The words.
        codes: For each row the place of its word in ``names``.
    """

    names: tuple[str, ...]
    codes: Int64

    def counts(self) -> Counter[str]:
        """Return how many rows have each word."""
        numbers = np.bincount(self.codes, minlength=len(self.names))
        pairs = zip(self.names, numbers.tolist(), strict=True)
        return Counter({name: number for name, number in pairs if number})

    def rows(self, name: str) -> npt.NDArray[np.bool_]:
        """Return which rows have a word."""
        if name not in self.names:
            return np.zeros(len(self.codes), dtype=bool)
        return np.asarray(self.codes == self.names.index(name))


@dataclass(frozen=True)
class Refusal:
    """Lines of ``quarantine.csv`` that say the same, without their paths.

    Attributes:
        code: Why.
        detail: What in particular.
        number: How many lines say so.
        lines: The first of them, as numbers of lines in the file.
    """

    code: str
    detail: str
    number: int
    lines: tuple[int, ...]


@dataclass(frozen=True)
class Refusals:
    """What was refused.

    Attributes:
        codes: How often each code was earned.
        shown: Reasons, every code among them; the most frequent code first.
        hidden: How many lines give a reason that is not among them.
    """

    codes: Counter[str] = field(default_factory=Counter)
    shown: tuple[Refusal, ...] = ()
    hidden: int = 0


@dataclass(frozen=True)
class Removed:
    """Near-duplicates that were taken out.

    Attributes:
        number: How many.
        across: How many of them for the sake of another patient's volume.
        shown: The first: id, id of the one kept, share of differing bits, whether of one patient.
    """

    number: int = 0
    across: int = 0
    shown: tuple[tuple[str, str, str, str], ...] = ()


@dataclass(frozen=True)
class CohortFacts:
    """Columns of the table as numbers, and counts of what is beside it.

    Attributes:
        modality: Of each volume.
        format: Of each volume.
        maker: Manufacturer of the scanner of each volume.
        patient: Number of the patient of each volume.
        shape: ``(volumes, 3)``, NaN where there is no such axis.
        spacing_mm: ``(volumes, 3)``, likewise.
        intensity: ``(volumes, 5)``: least, 0.5, 50, 99.5 percent, greatest; NaN where not known.
        fixes: How many volumes have each remark.
        repaired: Which volumes have any.
        copies: How many volumes are copies of another, and how many of these of another patient's.
        quarantine: What was refused.
        ignored: What was passed over, by kind.
        removed: Near-duplicates that were taken out.
    """

    modality: Labels
    format: Labels
    maker: Labels
    patient: Int64
    shape: Float64
    spacing_mm: Float64
    intensity: Float64
    fixes: Counter[str]
    repaired: npt.NDArray[np.bool_]
    copies: tuple[int, int]
    quarantine: Refusals
    ignored: Counter[str]
    removed: Removed

    def __len__(self) -> int:
        """Return the number of volumes."""
        return len(self.patient)

    @functools.cached_property
    def per_patient(self) -> Int64:
        """Number of volumes of each patient."""
        return np.bincount(self.patient) if len(self) else np.zeros(0, dtype=np.int64)

    @functools.cached_property
    def extent_mm(self) -> Float64:
        """Longest side of the field of view of each volume."""
        extent: Float64 = np.fmax.reduce(self.shape * self.spacing_mm, axis=1)
        return extent


def read_facts(cohort: Cohort) -> CohortFacts:
    """Return the columns and counts of a cohort."""
    table = cohort.table
    fixes = table["fixes"].combine_chunks()
    words = pc.value_counts(fixes.flatten()).to_pylist()
    return CohortFacts(
        modality=_labels(table["modality"]),
        format=_labels(table["format"]),
        maker=_makers(table["manufacturer"]),
        patient=_labels(table["patient"]).codes,
        shape=_padded(table["shape"], AXES),
        spacing_mm=_padded(table["spacing_mm"], AXES),
        intensity=_padded(table["intensity"], LEVELS),
        fixes=Counter({pair["values"]: pair["counts"] for pair in words}),
        repaired=_lengths(fixes) > 0,
        copies=_copies(table),
        quarantine=_quarantine(cohort.path / "quarantine.csv"),
        ignored=_ignored(cohort.path / "summary.json"),
        removed=_removed(cohort.path / "reduced.csv"),
    )


def _labels(column: pa.ChunkedArray) -> Labels:
    encoded = column.combine_chunks().fill_null("").dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return Labels(tuple(encoded.dictionary.to_pylist()), codes)


def _makers(column: pa.ChunkedArray) -> Labels:
    """Return manufacturers under their common names; the field of a header may hold any text."""
    stated = _labels(column)
    common = [maker(text) for text in stated.names]
    names = tuple(dict.fromkeys(common))
    places = np.array([names.index(name) for name in common], dtype=np.int64)
    return Labels(names, places[stated.codes])


def _lengths(lists: pa.ListArray) -> Int64:
    lengths = pc.list_value_length(lists).fill_null(0)
    numbers: Int64 = lengths.to_numpy(zero_copy_only=False).astype(np.int64)
    return numbers


def _padded(column: pa.ChunkedArray, width: int) -> Float64:
    """Return a column of short lists as a matrix, NaN where a list is shorter or not there."""
    lists = column.combine_chunks()
    lengths = _lengths(lists)
    values = lists.flatten().cast(pa.float64()).to_numpy(zero_copy_only=False)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    places = np.arange(len(values)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    matrix = np.full((len(lengths), width), np.nan)
    fits = places < width
    matrix[rows[fits], places[fits]] = values[fits]
    return matrix


def _copies(table: pa.Table) -> tuple[int, int]:
    """Count volumes that are copies, and those whose original is of another patient."""
    copies = table.select(["patient", "duplicate_of"]).filter(pc.is_valid(table["duplicate_of"]))
    if not copies.num_rows:
        return 0, 0
    places = pc.index_in(copies["duplicate_of"], value_set=table["id"].combine_chunks())
    same = pc.equal(table["patient"].take(places.combine_chunks()), copies["patient"])
    return copies.num_rows, copies.num_rows - (pc.sum(same).as_py() or 0)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.is_file():
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as lines:
            yield from csv.DictReader(lines)


def _quarantine(path: Path) -> Refusals:
    codes: Counter[str] = Counter()
    reasons: dict[str, dict[str, list[int]]] = {}
    for line, row in enumerate(_lines(path), start=2):  # the heading is line 1
        code, detail = row["code"] or "", row["detail"] or ""
        codes[code] += 1
        known = reasons.setdefault(code, {})
        if detail in known or len(known) < SHOWN_REFUSALS:
            count_and_lines = known.setdefault(detail, [0])
            count_and_lines[0] += 1
            if len(count_and_lines) <= SHOWN_LINES:
                count_and_lines.append(line)
    most = _fair_share([len(known) for known in reasons.values()])
    shown = tuple(
        Refusal(code, detail, number, tuple(lines))
        for code, _ in codes.most_common()
        for detail, (number, *lines) in itertools.islice(reasons[code].items(), most)
    )
    return Refusals(codes, shown, codes.total() - sum(refusal.number for refusal in shown))


def _fair_share(numbers: list[int]) -> int:
    """Return how many reasons of each code can be shown so that all of them together fit."""
    share = SHOWN_REFUSALS
    while share > 1 and sum(min(share, number) for number in numbers) > SHOWN_REFUSALS:
        share -= 1
    return share


def _ignored(path: Path) -> Counter[str]:
    try:
        counts = json.loads(path.read_text(encoding="utf-8"))["ignored"]
        return Counter({str(kind): int(number) for kind, number in counts.items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Counter()  # a report of a cohort that was cut short says what it can


def _removed(path: Path) -> Removed:
    shown: list[tuple[str, str, str, str]] = []
    number = across = 0
    for row in _lines(path):
        number += 1
        across += row["same_patient"] == "no"
        if len(shown) < SHOWN_REMOVED:
            shown.append((row["id"], row["kept"], row["distance"], row["same_patient"]))
    return Removed(number, across, tuple(shown))
