"""Tables of a cohort's report."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medssl.report.advice import FIXES, MODALITIES, REASONS
from medssl.report.cohort_facts import CohortFacts, Labels, Refusal, Removed
from medssl.report.numbers import NOTHING, count, edges, short
from medssl.report.page import Block, Table

__all__ = [
    "composition",
    "copies",
    "intensities",
    "makers",
    "modality_name",
    "reasons",
    "refusals",
    "repairs",
]

Float64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

FORMATS = {
    "dicom": "DICOM",
    "nifti": "NIfTI",
    "nrrd": "NRRD",
    "mha": "MHA",
    "analyze": "Analyze",
    "image2d": "2D image",
}
"""Format as the table spells it, and as people do."""

UNIT = {"ct": "HU"}
"""Unit of the values, where the modality has one."""


def modality_name(code: str) -> str:
    """Return a modality as people spell it."""
    return MODALITIES.get(code, code)


def composition(facts: CohortFacts) -> tuple[Block, ...]:
    """Return what the volumes are: one table a reader takes in at a glance."""
    lines = []
    for modality, kind, members in _groups(facts.modality, facts.format):
        lines.append(
            (
                modality_name(modality),
                FORMATS.get(kind, kind),
                count(members.sum()),
                _patients(facts, members),
                edges(_medians(facts.shape[members])),
                edges(_medians(facts.spacing_mm[members])),
            )
        )
    if not lines:
        return ()
    heading = ("modality", "format", "volumes", "patients", "median voxels", "median spacing in mm")
    return (Table(heading, tuple(lines), numeric=frozenset({2, 3, 4, 5})),)


def makers(facts: CohortFacts) -> tuple[Block, ...]:
    """Return whose scanners made the volumes; nothing where no file says so."""
    found = facts.maker.counts()
    if not set(found) - {"not stated"}:
        return ()
    kinds = [name for name, _ in facts.modality.counts().most_common()]
    lines = []
    for name, number in found.most_common():
        members = facts.maker.rows(name)
        each = [int((members & facts.modality.rows(kind)).sum()) for kind in kinds]
        cells = [count(of_kind) if of_kind else NOTHING for of_kind in each]
        lines.append((name, _patients(facts, members), *cells, count(number)))
    names = [modality_name(kind) for kind in kinds]
    heading = ("manufacturer", "patients", *names, "volumes")
    numeric = frozenset(range(1, len(heading)))
    if len(kinds) == 1:  # the only modality has as many as all together
        heading, lines = (*heading[:2], "volumes"), [(*line[:2], line[-1]) for line in lines]
    return (Table(heading, tuple(lines), numeric=numeric),)


def intensities(facts: CohortFacts) -> tuple[Block, ...]:
    """Return how dark and bright the typical volume of each modality is."""
    known = np.isfinite(facts.intensity).all(axis=1)
    lines = []
    for name, _ in facts.modality.counts().most_common():
        members = facts.modality.rows(name) & known
        if members.any():
            middle = np.median(facts.intensity[members], axis=0)
            unit = UNIT.get(name, "as in the files")
            numbers = (count(members.sum()), *(short(value) for value in middle.tolist()))
            lines.append((modality_name(name), unit, *numbers))
    if not lines:
        return ()
    heading = ("modality", "unit", "volumes", "least", "0.5 %", "median", "99.5 %", "greatest")
    caption = "Each number is the median over the volumes."
    return (Table(heading, tuple(lines), caption, numeric=frozenset(range(2, 8))),)


def refusals(facts: CohortFacts) -> tuple[Block, ...]:
    """Return the codes of the quarantine with their meaning."""
    lines = tuple(
        (code, count(number), *REASONS.get(code, ("", "")))
        for code, number in facts.quarantine.codes.most_common()
    )
    columns = ("code", "number", "what it means", "what to do")
    return (Table(columns, lines, numeric=frozenset({1})),) if lines else ()


def reasons(facts: CohortFacts) -> tuple[Block, ...]:
    """Return what is wrong with each of what was refused, and where the quarantine list has it."""
    lines = tuple(
        (entry.code, entry.detail, _lines(entry), REASONS.get(entry.code, ("", ""))[1])
        for entry in facts.quarantine.shown
    )
    hidden = facts.quarantine.hidden
    caption = f"{count(hidden)} more lines are in the file." if hidden else ""
    columns = ("code", "in particular", "line", "what to do")
    return (Table(columns, lines, caption),) if lines else ()


def _lines(entry: Refusal) -> str:
    more = entry.number - len(entry.lines)
    lines = ", ".join(str(line) for line in entry.lines)
    return f"{lines} and {count(more)} more" if more else lines


def repairs(facts: CohortFacts) -> tuple[Block, ...]:
    """Return the remarks of admitted volumes with their meaning."""
    lines = tuple(
        (code, count(number), *FIXES.get(code, ("", "")))
        for code, number in facts.fixes.most_common()
    )
    columns = ("code", "volumes", "what it means", "what to do")
    return (Table(columns, lines, numeric=frozenset({1})),) if lines else ()


def copies(facts: CohortFacts) -> tuple[Block, ...]:
    """Return what exists several times: exact copies that stay, near ones that were taken out."""
    total, across = facts.copies
    lines = []
    if across:
        advice = (
            "Find out whether the two are one person, or one was filed wrongly; prepare takes the "
            "voxels once."
        )
        lines.append(("the voxels of another patient's volume", count(across), advice))
    if total - across:
        advice = "Nothing: they share a patient and stay on one side of a split."
        lines.append(("the voxels of another volume of the patient", count(total - across), advice))
    removed = facts.removed
    if removed.across:
        advice = (
            "Compare the two in reduced.csv: one person under two names, or a threshold that is "
            "too wide."
        )
        lines.append(("nearly another patient's volume, taken out", count(removed.across), advice))
    if removed.number - removed.across:
        advice = "Nothing: reduced.csv says for the sake of which volume each was taken out."
        number = count(removed.number - removed.across)
        lines.append(("nearly another volume of the patient, taken out", number, advice))
    if not lines:
        return ()
    table = Table(("what", "volumes", "what to do"), tuple(lines), numeric=frozenset({1}))
    return (table, *_near(removed))


def _near(removed: Removed) -> tuple[Block, ...]:
    if not removed.shown:
        return ()
    more = removed.number - len(removed.shown)
    rest = f"; {count(more)} more are in reduced.csv." if more else "."
    columns = ("taken out", "kept instead", "share of differing bits", "same patient")
    return (Table(columns, removed.shown, f"Near-duplicates{rest}", frozenset({2})),)


def _groups(first: Labels, second: Labels) -> list[tuple[str, str, Mask]]:
    """Return each pair of words with the rows that have it, the most frequent first."""
    found = [
        (one, other, first.rows(one) & second.rows(other))
        for one in first.names
        for other in second.names
    ]
    return sorted(
        (group for group in found if group[2].any()), key=lambda group: -int(group[2].sum())
    )


def _patients(facts: CohortFacts, members: Mask) -> str:
    return count(len(np.unique(facts.patient[members])))


def _medians(lengths: Float64) -> list[float]:
    """Return the median along each axis, over the volumes with the usual number of axes."""
    axes = np.isfinite(lengths).sum(axis=1)
    usual = int(np.bincount(axes).argmax())
    medians: list[float] = np.round(np.median(lengths[axes == usual, :usual], axis=0), 2).tolist()
    return medians
