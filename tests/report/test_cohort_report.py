"""The report of a cohort counts, explains, and names no one."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from medssl.cohort.cohort import SCHEMA, Cohort
from medssl.report.advice import FIXES, REASONS
from medssl.report.cohort import write_cohort_report

MARKER = "SAMPLE^PATIENT"


def row(number: int, modality: str, **more: object) -> dict[str, object]:
    return {
        "id": f"{number:08x}",
        "patient": f"hash{number // 2}",
        "study": MARKER,
        "series": MARKER,
        "source": 0,
        "path": f"{MARKER}/{number}.nii.gz",
        "files": [f"{MARKER}.dcm"],
        "part": 0,
        "format": "nifti",
        "modality": modality,
        "shape": [64, 64, 20 + number],
        "spacing_mm": [1.0, 1.0, 2.0 + 0.1 * number],
        "orientation": "RAS",
        "affine": [1.0] * 16,
        "dtype": "int16",
        "fixes": [],
        "voxel_hash": "",
        "duplicate_of": None,
        **more,
    }


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    rows = [row(n, "ct" if n % 3 else "mr") for n in range(12)]
    rows.append(row(12, "xr", shape=[500, 400], spacing_mm=[0.2, 0.2], fixes=["lossy"]))
    (tmp_path / "quarantine.csv").write_text(
        f"path,code,detail\n{MARKER}/a,truncated,{MARKER}\n{MARKER}/b,truncated,x\n/c,localizer,y\n"
    )
    return Cohort(tmp_path, pa.Table.from_pylist(rows, schema=SCHEMA), [tmp_path / MARKER])


def test_no_name_and_no_path_reaches_the_page(cohort: Cohort) -> None:
    text = write_cohort_report(cohort).read_text()
    assert MARKER not in text
    assert "PATIENT" not in text
    assert ".nii" not in text
    assert "hash0" not in text
    assert "<img" not in text
    assert "http" not in text


def test_volumes_patients_and_refusals_are_counted(cohort: Cohort) -> None:
    text = write_cohort_report(cohort).read_text()
    assert "13 volumes of 7 patients" in text
    assert "8 CT, 4 MR, 1 radiograph." in text
    assert REASONS["truncated"][1] in text
    assert FIXES["lossy"] in text
    assert " \u00d7 ".join(("64", "64", "26")) in text


def test_what_is_not_there_is_not_mentioned(tmp_path: Path) -> None:
    rows = [row(n, "ct", shape=[64, 64, 64], spacing_mm=[1.0, 1.0, 1.0]) for n in range(8)]
    empty = Cohort(tmp_path, pa.Table.from_pylist(rows, schema=SCHEMA), [tmp_path])
    text = write_cohort_report(empty, tmp_path / "page.html").read_text()
    assert "turned away" in text  # the key figure: none
    assert "What was turned away" not in text
    assert "What was repaired" not in text
    assert "<svg" not in text


def test_a_cohort_without_volumes_says_so(tmp_path: Path) -> None:
    nothing = Cohort(tmp_path, SCHEMA.empty_table(), [tmp_path])
    assert "No volume was admitted" in write_cohort_report(nothing).read_text()
