"""The report of an index: what is there, what was turned away and why.

It names no patient, no file and no place.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medssl.cohort.cohort import Cohort
from medssl.report.cohort_facts import CohortFacts, read_facts
from medssl.report.cohort_figures import Bar, bars, levels, patients
from medssl.report.cohort_tables import (
    UNIT,
    composition,
    copies,
    intensities,
    makers,
    modality_name,
    reasons,
    refusals,
    repairs,
)
from medssl.report.figures import ACCENT, MUTED, SECOND, histogram
from medssl.report.numbers import count, short
from medssl.report.page import Block, Chart, KeyFigure, Page, Section
from medssl.report.thumbnails import thumbnails as thumbnail_blocks

__all__ = ["cohort_section", "write_cohort_report"]

Float64 = npt.NDArray[np.float64]

FEWEST = 5
"""A distribution of fewer volumes says less than the table above it."""

LISTED_CODES = 12
COLOURED_KINDS = 4

CT_ENDS = (-1200.0, 2000.0)
CT_MARKS = ((-1000.0, "air"), (0.0, "water"), (1000.0, "bone"))


def write_cohort_report(
    cohort: Cohort, path: Path | None = None, *, thumbnails: bool = False
) -> Path:
    """Write the report of a cohort and return where it is.

    Args:
        cohort: What ``index`` made.
        path: The HTML file; by default ``report.html`` in the cohort.
        thumbnails: Whether to show slices of some volumes. Faces can be recognised, so the default
            is not to.

    Raises:
        OutputError: If the file can't be written.
    """
    facts = read_facts(cohort)
    page = Page(
        kind="Cohort",
        title=_title(facts),
        lead=f"{_lead(facts)} This page names no patient, no file and no place.",
        key_figures=_key_figures(facts),
        sections=(
            Section("Every verdict", _verdicts(facts)),
            Section(
                "What was found",
                (*composition(facts), *makers(facts), *_per_patient(facts)),
                _unknown(facts),
            ),
            Section("Size and spacing", _geometry(facts)),
            Section(
                "Intensity",
                (*intensities(facts), *_brightness(facts)),
                "Of each volume: its least and greatest value, and those that 0.5, 50 and 99.5 % "
                "of its voxels lie below.",
            ),
            Section(
                "What was turned away",
                refusals(facts),
                "Each has its line in quarantine.csv; the exact reasons are further below.",
            ),
            Section(
                "What was repaired or remarked",
                repairs(facts),
                "These volumes were admitted; the column fixes of volumes.parquet says which.",
            ),
            Section("What is there more than once", copies(facts)),
            Section("A look at some volumes", thumbnail_blocks(cohort) if thumbnails else ()),
            Section(
                "The quarantine, reason by reason",
                reasons(facts),
                "The column line counts the lines of quarantine.csv, which says where each lies.",
            ),
        ),
    )
    return page.write(path if path is not None else cohort.path / "report.html")


def cohort_section(cohort: Cohort) -> Section:
    """Return a section on a cohort for a report about something larger."""
    facts = read_facts(cohort)
    return Section("The cohort", (*composition(facts), *_geometry(facts)), _admitted(facts))


def _volumes(number: int) -> str:
    return f"{count(number)} volume{'' if number == 1 else 's'}"


def _patients(number: int) -> str:
    return f"{count(number)} patient{'' if number == 1 else 's'}"


def _title(facts: CohortFacts) -> str:
    if not len(facts):
        return "Nothing that can be used"
    return f"{_volumes(len(facts))} of {_patients(len(facts.per_patient))}"


def _lead(facts: CohortFacts) -> str:
    away = facts.quarantine.codes.total()
    if not away:
        return f"{_admitted(facts)} Nothing was turned away."
    things = "file or series was" if away == 1 else "files or series were"
    return f"{_admitted(facts)} {count(away)} {things} turned away, for the reasons below."


def _admitted(facts: CohortFacts) -> str:
    kinds = [
        f"{count(number)} {modality_name(code)}{'s' if code == 'xr' and number > 1 else ''}"
        for code, number in facts.modality.counts().most_common()
    ]
    return f"Admitted: {', '.join(kinds)}." if kinds else "No volume was admitted."


def _unknown(facts: CohortFacts) -> str:
    number = int(facts.modality.rows("unknown").sum())
    if not number:
        return ""
    do = "volume does" if number == 1 else "volumes do"
    return (
        f"{count(number)} {do} not say which modality made them. If you know, index again with "
        "--modality, folder by folder where it differs."
    )


def _key_figures(facts: CohortFacts) -> list[KeyFigure]:
    away = facts.quarantine.codes.total()
    repaired, passed = int(facts.repaired.sum()), facts.ignored.total()
    figures = (
        KeyFigure(count(len(facts)), "admitted"),
        KeyFigure(count(len(facts.per_patient)), "patients"),
        KeyFigure(count(away), "turned away"),
        KeyFigure(count(repaired), "repaired or remarked"),
        KeyFigure(count(passed), "other files passed over"),
        KeyFigure(count(facts.copies[0]), "copies of another volume"),
        KeyFigure(count(facts.removed.number), "near-duplicates taken out"),
    )
    # The first three are said even where there are none; more than six take a second row.
    return [figure for place, figure in enumerate(figures) if place < 3 or figure.value != "0"][:6]


def _verdicts(facts: CohortFacts) -> tuple[Block, ...]:
    """Return one picture of all verdicts; nothing where there is only one sort."""
    repaired = int(facts.repaired.sum())
    codes = facts.quarantine.codes.most_common()
    rest = sum(number for _, number in codes[LISTED_CODES:])
    items = [
        Bar("admitted as it is", len(facts) - repaired, ACCENT),
        Bar("admitted, repaired or remarked", repaired, SECOND),
        *(Bar(f"turned away: {code}", number, MUTED) for code, number in codes[:LISTED_CODES]),
        Bar("turned away: other codes", rest, MUTED),
    ]
    items = [item for item in items if item.number]
    if len(items) < 2:
        return ()
    alt = "; ".join(f"{item.name}: {item.number}" for item in items)
    passed = ", ".join(f"{kind} ({count(number)})" for kind, number in facts.ignored.most_common())
    caption = f"Passed over, for they are no images: {passed}." if passed else ""
    return (Chart(bars(items, alt=alt), "Volumes, files and series", caption, wide=True),)


def _per_patient(facts: CohortFacts) -> tuple[Block, ...]:
    """Return how the volumes are spread over the patients; nothing where all have one."""
    volumes = facts.per_patient
    if len(volumes) < FEWEST or volumes.max() == 1:
        return ()
    note = f"Median {short(float(np.median(volumes)))}, at most {count(volumes.max())}."
    svg = patients(volumes, alt=f"Volumes of a patient: {note}")
    return (Chart(svg, "Volumes of a patient", note, wide=True),)


def _geometry(facts: CohortFacts) -> tuple[Block, ...]:
    """Return how spacing, shape and field of view are distributed; nothing for a handful."""
    if len(facts) < FEWEST:
        return ()
    charts = (
        _distribution("Finest spacing", "mm", facts, np.fmin.reduce(facts.spacing_mm, axis=1)),
        _distribution("Coarsest spacing", "mm", facts, np.fmax.reduce(facts.spacing_mm, axis=1)),
        _distribution(
            "Voxels on the longest axis", "voxels", facts, np.fmax.reduce(facts.shape, axis=1)
        ),
        _distribution("Longest side of the field of view", "mm", facts, facts.extent_mm),
    )
    return tuple(chart for chart in charts if chart is not None)


def _distribution(title: str, unit: str, facts: CohortFacts, values: Float64) -> Chart | None:
    """Return a histogram, or none where all volumes are alike and the table says it all."""
    if np.ptp(values) < 1e-6:
        return None
    note = f"Median {short(float(np.median(values)))} {unit}."
    svg = histogram(
        list(_by_kind(facts, values).items()),
        x_label=unit,
        y_label="volumes",
        alt=f"{title}: {note}",
        log_x=bool(values.min() > 0 and values.max() > 20 * values.min()),
    )
    return Chart(svg, title, note)


def _by_kind(facts: CohortFacts, values: Float64) -> Mapping[str, Float64]:
    """Return the values of each modality; there are colours for few, so the rarest share one."""
    names = [name for name, _ in facts.modality.counts().most_common()]
    own = names if len(names) <= COLOURED_KINDS else names[: COLOURED_KINDS - 1]
    groups = {modality_name(name): values[facts.modality.rows(name)] for name in own}
    if len(own) < len(names):
        groups["other"] = np.concatenate(
            [values[facts.modality.rows(name)] for name in names[len(own) :]]
        )
    return groups


def _brightness(facts: CohortFacts) -> tuple[Block, ...]:
    """Return for each modality how the darkest, middle and brightest values are distributed."""
    known = np.isfinite(facts.intensity).all(axis=1)
    charts = []
    for name, _ in facts.modality.counts().most_common():
        values = facts.intensity[facts.modality.rows(name) & known]
        if len(values) >= FEWEST:
            charts.append(_levels(name, values))
    return tuple(charts)


def _levels(modality: str, values: Float64) -> Chart:
    name, unit = modality_name(modality), UNIT.get(modality, "value as in the files")
    rows = (
        ("99.5 %", values[:, 3]),
        ("median", values[:, 2]),
        ("0.5 %", values[:, 1]),
    )
    is_ct = modality == "ct"
    drawing = levels(
        rows,
        x_label=unit,
        alt=f"{name}: distributions of the dark, middle and bright values of {len(values)} volumes",
        marks=CT_MARKS if is_ct else (),
        ends=CT_ENDS if is_ct else None,
    )
    notes = ["Each row counts volumes, on a height of its own."]
    if is_ct:
        notes.append("The darkest values should lie at air.")
    if drawing.beyond:
        lie = "lies" if drawing.beyond == 1 else "lie"
        notes.append(f"{_volumes(drawing.beyond)} {lie} beyond an end, in the outermost bars.")
    return Chart(drawing.svg, f"{name[:1].upper()}{name[1:]}", " ".join(notes))
