"""The report of an index: what is there, what was turned away and why.

It names no patient, no file and no place.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medssl.cohort.cohort import Cohort
from medssl.io.geometry import to_ras
from medssl.report.advice import FIXES, MODALITIES, REASONS
from medssl.report.figures import histogram
from medssl.report.numbers import count, edges, short
from medssl.report.page import Block, Chart, KeyFigure, Page, Section, Table
from medssl.report.panels import planes

__all__ = ["cohort_section", "write_cohort_report"]

THUMBNAILS = 6

Rows = list[dict[str, Any]]
Float64 = npt.NDArray[np.float64]


def write_cohort_report(
    cohort: Cohort, path: Path | None = None, *, thumbnails: bool = False
) -> Path:
    """Write the report of a cohort and return where it is.

    Args:
        cohort: What ``index`` made.
        path: The HTML file; by default ``report.html`` in the cohort.
        thumbnails: Whether to show slices of a few volumes. Faces can be recognised, so the default
            is not to.

    Raises:
        OutputError: If the file can't be written.
    """
    rows: Rows = cohort.table.to_pylist()
    refused = _quarantine(cohort.path)
    patients = len({row["patient"] for row in rows})
    page = Page(
        kind="Cohort",
        title=f"{count(len(rows))} volumes of {count(patients)} patients",
        lead=f"{_lead(rows, refused)} Nothing here names a patient, a file or a place.",
        key_figures=_key_figures(rows, refused),
        sections=(
            Section("What was found", (*_composition(rows), *_geometry(rows))),
            Section(
                "What was turned away",
                _refusals(refused),
                "Each of these is in quarantine.csv with its place and the exact reason.",
            ),
            Section(
                "What was repaired or remarked",
                _repairs(rows),
                "These volumes were admitted; the column fixes of volumes.parquet says which.",
            ),
            Section("A look at some volumes", _thumbnails(cohort) if thumbnails else ()),
        ),
    )
    return page.write(path if path is not None else cohort.path / "report.html")


def cohort_section(cohort: Cohort) -> Section:
    """Return a section on a cohort for a report about something larger."""
    rows: Rows = cohort.table.to_pylist()
    return Section("The cohort", (*_composition(rows), *_geometry(rows)), _lead(rows, Counter()))


def _lead(rows: Rows, refused: Counter[str]) -> str:
    kinds = Counter(_modality(row) for row in rows)
    admitted = ", ".join(
        f"{count(number)} {kind}{'s' if kind == 'radiograph' and number > 1 else ''}"
        for kind, number in kinds.most_common()
    )
    away = refused.total()
    if not rows:
        return "No volume was admitted; the reasons are below."
    turned = (
        f" {count(away)} files or series were turned away, for the reasons below." if away else ""
    )
    return f"Admitted: {admitted}.{turned}"


def _key_figures(rows: Rows, refused: Counter[str]) -> list[KeyFigure]:
    figures = [
        KeyFigure(count(len(rows)), "volumes admitted"),
        KeyFigure(count(len({row["patient"] for row in rows})), "patients"),
        KeyFigure(count(refused.total()), "turned away"),
    ]
    repaired = sum(bool(row["fixes"]) for row in rows)
    if repaired:
        figures.append(KeyFigure(count(repaired), "repaired or remarked"))
    copies = sum(bool(row["duplicate_of"]) for row in rows)
    if copies:
        figures.append(KeyFigure(count(copies), "copies of another volume"))
    return figures


def _composition(rows: Rows) -> tuple[Block, ...]:
    """Return what the volumes are: one table a reader takes in at a glance."""
    if not rows:
        return ()
    groups: dict[tuple[str, str], Rows] = {}
    for row in rows:
        groups.setdefault((row["modality"], row["format"]), []).append(row)
    lines = tuple(
        (
            MODALITIES.get(modality, modality),
            kind.replace("_", " "),
            count(len(members)),
            count(len({row["patient"] for row in members})),
            edges(_medians(members, "shape")),
            edges(_medians(members, "spacing_mm")),
        )
        for (modality, kind), members in sorted(groups.items(), key=lambda item: -len(item[1]))
    )
    heading = ("modality", "format", "volumes", "patients", "median voxels", "median spacing in mm")
    return (Table(heading, lines, numeric=frozenset({2, 3, 4, 5})),)


def _geometry(rows: Rows) -> tuple[Block, ...]:
    """Return how spacing, shape and field of view are distributed; nothing for a handful."""
    if len(rows) < 5:
        return ()
    names = [name for name, _ in Counter(_modality(row) for row in rows).most_common()]

    def spread(measure: Callable[[dict[str, Any]], float]) -> dict[str, Float64]:
        return {
            name: np.array([measure(row) for row in rows if _modality(row) == name])
            for name in names
        }

    def longest_side_mm(row: dict[str, Any]) -> float:
        sides = (n * mm for n, mm in zip(row["shape"], row["spacing_mm"], strict=True))
        return float(max(sides))

    charts = (
        _distribution("Finest spacing", "mm", spread(lambda row: min(row["spacing_mm"]))),
        _distribution("Coarsest spacing", "mm", spread(lambda row: max(row["spacing_mm"]))),
        _distribution(
            "Voxels on the longest axis", "voxels", spread(lambda row: max(row["shape"]))
        ),
        _distribution("Longest side of the field of view", "mm", spread(longest_side_mm)),
    )
    return tuple(chart for chart in charts if chart is not None)


def _distribution(title: str, unit: str, values: dict[str, Float64]) -> Chart | None:
    """Return a histogram, or none where all volumes are alike and the table says it all."""
    every = np.concatenate(list(values.values()))
    if np.ptp(every) < 1e-6:
        return None
    note = f"Median {short(float(np.median(every)))} {unit}."
    svg = histogram(
        list(values.items()),
        x_label=unit,
        y_label="volumes",
        alt=f"{title}: {note}",
        log_x=bool(every.min() > 0 and every.max() > 20 * every.min()),
    )
    return Chart(svg, title, note)


def _refusals(refused: Counter[str]) -> tuple[Block, ...]:
    if not refused:
        return ()
    lines = []
    for code, number in refused.most_common():
        meaning, advice = REASONS.get(code, ("", ""))
        lines.append((code, count(number), meaning, advice))
    columns = ("code", "number", "what it means", "what to do")
    return (Table(columns, tuple(lines), numeric=frozenset({1})),)


def _repairs(rows: Rows) -> tuple[Block, ...]:
    fixes = Counter(code for row in rows for code in (row["fixes"] or ()))
    if not fixes:
        return ()
    lines = tuple((code, count(n), FIXES.get(code, "")) for code, n in fixes.most_common())
    return (Table(("code", "volumes", "what it means"), lines, numeric=frozenset({1})),)


def _thumbnails(cohort: Cohort) -> tuple[Block, ...]:
    blocks = []
    for volume_id in cohort.ids[:THUMBNAILS]:
        volume = to_ras(cohort.read(volume_id))
        title = f"{MODALITIES[volume.modality]}, {edges(volume.spacing_mm)} mm"
        blocks.append(planes(volume.data, volume.spacing_mm, title=title))
    return tuple(blocks)


def _quarantine(path: Path) -> Counter[str]:
    """Count the codes of ``quarantine.csv``; its paths and details are not looked at."""
    file = path / "quarantine.csv"
    if not file.is_file():
        return Counter()
    with file.open(newline="", encoding="utf-8", errors="surrogateescape") as lines:
        return Counter(row["code"] for row in csv.DictReader(lines))


def _modality(row: dict[str, Any]) -> str:
    return MODALITIES.get(str(row["modality"]), str(row["modality"]))


def _medians(rows: Rows, column: str) -> list[float]:
    """Return the median along each axis, over the volumes with the usual number of axes."""
    axes = Counter(len(row[column]) for row in rows).most_common(1)[0][0]
    lengths = [row[column] for row in rows if len(row[column]) == axes]
    medians: list[float] = np.round(np.median(lengths, axis=0), 2).tolist()
    return medians
