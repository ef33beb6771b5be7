from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time

import fake_dicom as fake
import nibabel as nib
import numpy as np
import pytest

import medssl
from medssl.commands.index import index
from medssl.errors import InputError, UsageError
from medssl.io.nifti import write_nifti

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])
MR = np.random.default_rng(0).integers(0, 900, (8, 9, 7)).astype(np.int16)


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    fake.write_ct(folder / "series")
    write_nifti(folder / "a.nii.gz", MR, AFFINE)
    return folder


def test_a_cohort_is_complete_and_says_what_comes_next(scans, tmp_path, capsys):
    out = tmp_path / "cohort"
    cohort = index([scans], out=out, modality="mr")
    assert len(cohort) == 2
    for name in ("volumes.parquet", "quarantine.csv", "summary.json", "report.html", "run.json"):
        assert (out / name).is_file(), name
    said = capsys.readouterr().out
    assert "2 volumes of 2 patients" in said
    assert "medssl prepare" in said
    record = json.loads((out / "run.json").read_text())
    assert record["counts"]["modality"] == {"mr": 1, "ct": 1}
    assert record["options"]["modality"] == "mr"


def test_a_single_path_will_do_and_the_api_is_the_command(scans, tmp_path):
    assert medssl.index is index
    assert len(medssl.index(str(scans), out=str(tmp_path / "cohort"))) == 2


TABLES = ("volumes.parquet", "quarantine.csv", "summary.json", "sources.json")


def cohort_of(folder) -> list[bytes]:
    return [(folder / name).read_bytes() for name in TABLES]


def test_a_file_that_does_not_fit_costs_itself_alone(scans, tmp_path, capfd):
    image = nib.Nifti1Image(np.zeros((1, 1, 1), np.int16), AFFINE)
    image.header.set_data_shape((1000, 1000, 400))
    path = scans / "huge.nii"
    path.write_bytes(bytes(image.header.binaryblock) + b"\0" * 4)
    os.truncate(path, 352 + 2 * 1000 * 1000 * 400)  # sparse: it takes no room on the disk
    out = tmp_path / "cohort"
    assert len(index([scans], out=out, workers=1, memory_gb=0.5)) == 2
    assert "huge.nii,too_large" in (out / "quarantine.csv").read_text()


def test_resuming_reads_what_changed_and_says_so(scans, tmp_path, capsys):
    out = tmp_path / "cohort"
    index([scans], out=out, workers=1)
    write_nifti(scans / "b.nii.gz", MR + 1, AFFINE)
    index([scans], out=out, workers=1, resume=True)
    assert (
        "1 of 10 files and 1 of 3 series or images read, the rest known" in capsys.readouterr().out
    )
    record = json.loads((out / "run.json").read_text())
    assert record["reading"] == {"files": 10, "files_read": 1, "series": 3, "series_read": 1}
    index([scans], out=tmp_path / "fresh", workers=1)
    assert cohort_of(out) == cohort_of(tmp_path / "fresh")


def test_parts_are_joined_by_the_last_command(scans, tmp_path, capsys):
    out = tmp_path / "cohort"
    for part in range(2):
        assert len(index([scans], out=out, num_parts=2, part=part, workers=1)) == 0
        assert "--resume" in capsys.readouterr().out
        assert (out / "parts" / f"{part}-of-2" / "run.json").is_file()
    index([scans], out=out, resume=True, workers=1)
    assert "0 of 9 files and 0 of 2 series" in capsys.readouterr().out
    index([scans], out=tmp_path / "fresh", workers=1)
    assert cohort_of(out) == cohort_of(tmp_path / "fresh")


@pytest.mark.slow
def test_the_command_can_be_killed_at_any_moment(scans, tmp_path):
    for number in range(80):
        write_nifti(scans / f"{number}_T1w.nii.gz", MR + number, AFFINE)
        fake.write_ct(scans / str(number % 9), data=fake.body(seed=number), series=str(number))
    command = [sys.executable, "-m", "medssl", "index", scans, "--workers", "2", "--out"]
    start = time.monotonic()
    subprocess.run([*command, tmp_path / "whole"], check=True, capture_output=True)
    seconds = time.monotonic() - start
    moments = np.random.default_rng(0).uniform(0, seconds, 20)
    for number, moment in enumerate(moments):
        out = tmp_path / str(number)
        running = subprocess.Popen([*command, out, "--resume"], stderr=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(moment)
        running.kill()
        running.wait()
        subprocess.run([*command, out, "--resume"], check=True, capture_output=True)
        assert cohort_of(out) == cohort_of(tmp_path / "whole"), moment


@pytest.mark.parametrize("content", [None, {}, {"a.txt": "x"}, {"a.nii.gz": "<html>"}])
def test_sources_without_an_image_write_nothing(tmp_path, content):
    source = tmp_path / "scans"
    if content is not None:
        source.mkdir()
        for name, text in content.items():
            (source / name).write_text(text)
    with pytest.raises(InputError, match="scans") as caught:
        index([source], out=tmp_path / "deep" / "cohort")
    assert caught.value.exit_code == 3
    assert not (tmp_path / "deep").exists()


def test_a_cohort_that_is_there_is_kept_unless_told_otherwise(scans, tmp_path):
    out = tmp_path / "cohort"
    index([scans], out=out)
    with pytest.raises(UsageError, match="--overwrite"):
        index([scans], out=out)
    (scans / "a.nii.gz").unlink()
    assert len(index([scans], out=out, overwrite=True)) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"min_slices": 0},
        {"workers": 0},
        {"fill_missing": -1},
        {"seconds": 0},
        {"memory_gb": 0.1},
        {"part": 0},
        {"num_parts": 2},
        {"num_parts": 2, "part": 2},
        {"resume": True, "overwrite": True},
    ],
)
def test_options_out_of_range_are_wrong_usage(scans, tmp_path, options):
    with pytest.raises(UsageError):
        index([scans], out=tmp_path / "cohort", **options)
    assert not (tmp_path / "cohort").exists()


def test_no_patient_data_leaves_the_private_files(tmp_path, capfd):
    canary = "Zzyzx"
    source = tmp_path / f"{canary}_1950-03-01"
    tags = {
        "PatientName": f"{canary}^Ada",
        "PatientBirthDate": "19500301",
        "StudyDate": "20200202",
        "SeriesDescription": canary,
        "InstitutionName": canary,
    }
    fake.write_ct(source / canary, patient_id=canary, attributes=tags)
    image = nib.Nifti1Image(MR, AFFINE)
    image.header["descrip"] = canary
    nib.save(image, source / f"{canary}_T1w.nii.gz")
    (source / f"{canary}_2.nii.gz").write_text("broken")
    cut = fake.write_ct(source / "cut", patient_id=canary, series="2")
    cut[3].write_bytes(cut[3].read_bytes()[:-10])
    out = tmp_path / "cohort"
    cohort = index([source], out=out)
    private = {"volumes.parquet", "quarantine.csv", "sources.json", "index.db"}
    for path in out.rglob("*"):
        if path.is_file() and path.name not in private:
            content = path.read_bytes()
            for word in (canary, "19500301", "20200202", "1.2.826"):
                assert word.encode() not in content, path.name
                assert word.encode("utf-16-le") not in content, path.name
    table = cohort.table.drop_columns(["path", "files"]).to_pylist()
    assert canary not in str(table)
    said = capfd.readouterr()
    assert canary not in said.out + said.err
