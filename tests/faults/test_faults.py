"""Every fault earns its verdict: small cases for each row of the table of faults, and more.

All are read in a child process that may take 2 GB and 30 seconds for each: none needs more.
"""

from __future__ import annotations

import csv
import importlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults import phantom
from faults.case import FaultCase

from medssl.cohort.cohort import Cohort
from medssl.cohort.crew import Crew, open_crew
from medssl.cohort.scan import index_sources
from medssl.cohort.sources import from_text
from medssl.io.nifti import write_nifti

MODULES = {
    path.stem: importlib.import_module(f"faults.{path.stem}").CASES
    for path in sorted(Path(__file__).parent.glob("*_cases.py"))
}
ROWS = {f"N{number:02}" for number in range(1, 26)} | {f"D{number:02}" for number in range(1, 23)}
TOGETHER = {"nifti_cases", "itk_cases", "planar_cases"}
"""Modules whose cases can't be taken for parts of each other, so that one index does for all."""

SOUND, ALONE = "sound.nii", "case"
SECONDS, BYTES = 30, 2 * 2**30
UNFORESEEN = ("not foreseen", "ends the process", "takes longer than the limit")


@dataclass(frozen=True)
class Earned:
    """What became of one case.

    Attributes:
        rows: Of the table of volumes.
        entries: Of the quarantine.
        cohort: Where the volumes are.
    """

    rows: list[dict[str, Any]]
    entries: list[dict[str, str]]
    cohort: Cohort


def index(cases: Sequence[FaultCase], folder: Path, crew: Crew) -> Iterator[Earned]:
    """Yield what each case earned, all indexed at once under the policy of the first.

    A sound image lies beside them: to admit nothing at all would be an error.
    """
    source, out = folder / "source", folder / "cohort"
    # The name of a folder can be that of a patient; cases of several patients have their own.
    names = [f"case{number:03}" for number in range(len(cases))] if len(cases) > 1 else [ALONE]
    for name, case in zip(names, cases, strict=True):
        (source / name).mkdir(parents=True)
        case.write(source / name)
    noise = np.random.default_rng(0).normal(0, 500, (8, 8, 8)).astype(np.int16)
    write_nifti(source / SOUND, noise, np.eye(4))
    out.mkdir()
    cohort = index_sources([source], out, policy=cases[0].options, crew=crew)
    with (out / "quarantine.csv").open(encoding="utf-8", newline="") as file:
        entries = list(csv.DictReader(file))
    for name in names:
        yield Earned(
            [row for row in cohort.table.to_pylist() if is_of(row["path"], name)],
            [entry for entry in entries if is_of(entry["path"], name)],
            cohort,
        )


def is_of(path: str, name: str) -> bool:
    """Say whether a row is of a case; an archive is a source of its own, with other paths."""
    return path != SOUND if name == ALONE else from_text(path).parts[0] == name


def chunks(name: str) -> Iterator[list[FaultCase]]:
    """Yield the cases of a module that are indexed at once."""
    by_policy: dict[str, list[FaultCase]] = {}
    for case in MODULES[name]:
        together = repr(case.options) if name in TOGETHER else case.name
        by_policy.setdefault(together, []).append(case)
    yield from by_policy.values()


def faults_of(case: FaultCase, earned: Earned) -> Iterator[str]:
    """Yield in what a case earned something else than it must."""
    codes = {entry["code"] for entry in earned.entries}
    if codes != ({case.code} if case.code else set()):
        yield f"quarantined as {codes}, not {case.code}"
    for entry in earned.entries:
        if case.detail not in entry["detail"] or any(w in entry["detail"] for w in UNFORESEEN):
            yield f"detail: {entry['detail']}"
    if len(earned.rows) != case.volumes:
        yield f"{len(earned.rows)} volumes, not {case.volumes}"
    for row in earned.rows:
        yield from faults_of_volume(case, row, earned.cohort)


def faults_of_volume(case: FaultCase, row: dict[str, Any], cohort: Cohort) -> Iterator[str]:
    if sorted(row["fixes"]) != sorted(case.fixes):
        yield f"fixes {row['fixes']}, not {list(case.fixes)}"
    volume = cohort.read(row["id"])
    if list(volume.data.shape) != row["shape"]:
        yield f"read with shape {volume.data.shape}, indexed with {row['shape']}"
    if case.phantom:
        try:
            phantom.check(volume, case.tolerance)
        except AssertionError as error:
            yield f"the object is not in its place: {str(error)[:200]}"


@pytest.mark.parametrize("name", MODULES)
def test_every_fault_earns_its_verdict(name, tmp_path):
    wrong = []
    with open_crew(1, seconds=SECONDS, memory_bytes=BYTES) as crew:
        for number, cases in enumerate(chunks(name)):
            found = index(cases, tmp_path / str(number), crew)
            for case, earned in zip(cases, found, strict=True):
                wrong += [f"{case.name}: {fault}" for fault in faults_of(case, earned)]
    assert not wrong, "\n".join(["", *wrong])


def test_every_row_of_the_table_has_a_case_and_every_case_a_name_of_its_own():
    cases = [case for module in MODULES.values() for case in module]
    assert not ROWS - {case.row for case in cases}
    assert len(cases) >= 90
    for module in MODULES.values():
        assert max(Counter(case.name for case in module).values()) == 1
