"""The report of a cohort counts, explains, and names no one."""

from __future__ import annotations

import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from medssl.cohort.cohort import SCHEMA, Cohort
from medssl.cohort.scan import index_sources
from medssl.report.advice import FIXES, REASONS
from medssl.report.cohort import write_cohort_report
from medssl.report.cohort_facts import read_facts
from tests.fake_dicom import body, write_ct

MARKER = "SAMPLE^PATIENT"
QUARANTINED = (
    "truncated corrupt not_an_image too_large empty non_finite qform_sform_conflict bad_affine "
    "no_spacing no_geometry too_few_slices not_scalar time_series unreadable no_content "
    "ambiguous_stack missing_slices duplicate_slices mixed_orientation codec_missing monochrome1 "
    "burned_in localizer derived not_image_object duplicate"
)
FIXED = (
    "non_finite_filled tilt_resampled uneven_resampled shear_resampled affine_orthonormalised "
    "units_converted duplicate_slice_dropped odd_slice_dropped frames_split lossy "
    "orientation_unknown intensity_suspect"
)


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
        "manufacturer": MARKER,
        "intensity": [-1024.0, -1000.0, 10.0 * number, 900.0, 1500.0 + number],
        "voxel_hash": "",
        "perceptual_hash": "",
        "duplicate_of": None,
        **more,
    }


def made_of(folder: Path, rows: list[dict[str, object]]) -> Cohort:
    return Cohort(folder, pa.Table.from_pylist(rows, schema=SCHEMA), [folder / MARKER])


def page(folder: Path, rows: list[dict[str, object]]) -> str:
    return write_cohort_report(made_of(folder, rows), folder / "page.html").read_text("utf-8")


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    rows = [row(n, "ct" if n % 3 else "mr") for n in range(12)]
    rows.append(row(12, "xr", shape=[500, 400], spacing_mm=[0.2, 0.2], fixes=["lossy"]))
    (tmp_path / "quarantine.csv").write_text(
        f"path,code,detail\n{MARKER}/a,truncated,too short\n"
        f"{MARKER}/b,truncated,too short\n/c,localizer,y\n"
    )
    (tmp_path / "summary.json").write_text('{"ignored": {"hidden": 7}}')
    return made_of(tmp_path, rows)


def test_every_code_of_the_interface_has_a_meaning_and_an_advice_and_no_other_has():
    assert set(REASONS) == set(QUARANTINED.split())
    assert set(FIXES) == set(FIXED.split())
    assert all(text.endswith(".") for pair in [*REASONS.values(), *FIXES.values()] for text in pair)


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
    assert "hidden (7)" in text
    assert all(words in text for words in (*REASONS["truncated"], *FIXES["lossy"]))
    assert " \u00d7 ".join(("64", "64", "26")) in text
    assert "<td>too short</td><td>2, 3</td>" in text


def test_what_is_not_there_is_not_mentioned(tmp_path: Path) -> None:
    alike = {
        "shape": [64, 64, 64],
        "spacing_mm": [1.0, 1.0, 1.0],
        "manufacturer": "",
        "intensity": [],
    }
    text = page(tmp_path, [row(n, "ct", patient=f"p{n}", **alike) for n in range(8)])
    assert "turned away" in text  # the key figure: none
    for title in ("What was turned away", "What was repaired", "more than once", "Intensity"):
        assert title not in text
    assert "manufacturer" not in text
    assert "<svg" not in text


def test_one_volume_needs_no_chart(tmp_path: Path) -> None:
    text = page(tmp_path, [row(0, "unknown")])
    assert "1 volume of 1 patient<" in text
    assert "1 volume does not say which modality" in text
    assert "<svg" not in text


def test_a_cohort_without_volumes_says_so(tmp_path: Path) -> None:
    (tmp_path / "quarantine.csv").write_text("path,code,detail\na,localizer,y\nb,empty,z\n")
    text = page(tmp_path, [])
    assert "0 volumes" not in text
    assert "No volume was admitted. 2 files or series were turned away" in text
    assert REASONS["empty"][1] in text


def test_makers_are_counted_under_common_names_and_never_quoted(tmp_path: Path) -> None:
    makers = ["SIEMENS", "Siemens Healthineers", "GE MEDICAL SYSTEMS", MARKER, ""]
    rows = [row(n, "ct", manufacturer=maker) for n, maker in enumerate(makers)]
    counts = read_facts(made_of(tmp_path, [*rows, row(5, "mr", manufacturer=None)])).maker.counts()
    assert counts == {"Siemens": 2, "GE": 1, "another": 1, "not stated": 2}
    assert MARKER not in page(tmp_path, rows)


def test_copies_across_patients_are_warned_of_and_near_ones_listed(tmp_path: Path) -> None:
    rows = [row(0, "ct"), row(2, "ct", duplicate_of="00000000"), row(1, "ct")]
    rows.append(row(3, "ct", patient="hash0", duplicate_of="00000000"))
    (tmp_path / "reduced.csv").write_text(
        "id,kept,distance,same_patient\naaaa,00000000,0.0312,no\n"
    )
    assert read_facts(made_of(tmp_path, rows)).copies == (2, 1)
    text = page(tmp_path, rows)
    assert "the voxels of another patient" in text
    assert "nearly another patient" in text
    assert '<td>00000000</td><td class="number">0.0312</td><td>no</td>' in text


def test_values_far_from_the_rest_are_counted_and_do_not_flatten_the_chart(tmp_path: Path) -> None:
    rows = [row(n, "ct") for n in range(20)]
    rows.append(row(20, "ct", intensity=[0.0, 1e6, 2e6, 3e6, 4e6]))
    text = page(tmp_path, rows)
    assert "1 volume lies beyond an end" in text
    assert all(f">{name}<" in text for name in ("air", "water", "bone"))


def test_a_long_quarantine_is_told_reason_by_reason(tmp_path: Path) -> None:
    lines = [f"{MARKER}/{n},localizer,a planning scan" for n in range(3000)]
    lines += [f"{MARKER}/{n},missing_slices,{n} slices are missing" for n in range(1000)]
    lines += [f"{MARKER}/last,burned_in,says so"]
    (tmp_path / "quarantine.csv").write_text("\n".join(["path,code,detail", *lines, ""]))
    found = read_facts(made_of(tmp_path, [row(0, "ct")])).quarantine
    assert found.codes == {"localizer": 3000, "missing_slices": 1000, "burned_in": 1}
    assert len(found.shown) <= 200 + len(found.codes)
    assert found.shown[0].lines == (2, 3, 4, 5, 6)
    assert found.shown[-1].lines == (4002,)
    assert sum(entry.number for entry in found.shown) + found.hidden == 4001
    assert "2, 3, 4, 5, 6 and 2\u202f995 more" in page(tmp_path, [row(0, "ct")])


def test_memory_stays_small_with_many_volumes(tmp_path: Path) -> None:
    number = 50_000
    few = pa.Table.from_pylist([row(n, "ct" if n % 3 else "mr") for n in range(500)], schema=SCHEMA)
    many = pa.concat_tables([few] * (number // len(few)))
    ids = pa.array(np.arange(number)).cast(pa.string())
    many = many.set_column(0, "id", ids).set_column(1, "patient", ids)
    tracemalloc.start()
    try:
        facts = read_facts(Cohort(tmp_path, many, [tmp_path]))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(facts) == number
    assert peak < 600 * number  # as Python objects, a row takes several kilobytes


def test_thumbnails_are_read_anew_and_one_that_is_gone_costs_a_sentence(tmp_path: Path) -> None:
    scans = tmp_path / MARKER
    write_ct(scans / "here")
    write_ct(scans / "gone", data=body(seed=1), series="2")
    (tmp_path / "cohort").mkdir()
    cohort = index_sources([scans], tmp_path / "cohort")
    shutil.rmtree(scans / "gone")
    text = write_cohort_report(cohort, thumbnails=True).read_text("utf-8")
    assert text.count("<img") == 3
    assert text.count("can&#39;t be read any more") == 1
    assert MARKER not in text
    assert "<img" not in write_cohort_report(cohort).read_text("utf-8")
