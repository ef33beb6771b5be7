from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys

import fake_dicom as fake
import numpy as np
import pytest

from medssl.cohort.admit import Policy
from medssl.cohort.cohort import Cohort
from medssl.cohort.journal import JOURNAL, Journal
from medssl.cohort.scan import PARTS, Part, index_sources, scan_sources
from medssl.errors import InputError, OutputError, UsageError
from medssl.io.nifti import write_nifti

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])
MR = np.random.default_rng(0).integers(0, 900, (8, 9, 7)).astype(np.int16)
TABLES = ("volumes.parquet", "quarantine.csv", "summary.json", "sources.json")


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    for name in range(3):
        (folder / f"sub-{name}").mkdir(parents=True)
        write_nifti(folder / f"sub-{name}" / "a_T1w.nii.gz", MR + name, AFFINE)
    fake.write_ct(folder / "series", patient_id="Doe^John")
    (folder / "sub-0" / "page.nii").write_text("<html>")
    (folder / "notes.txt").write_text("x")
    return folder


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "cohort"
    folder.mkdir()
    return folder


def cohort_of(folder) -> list[bytes]:
    return [(folder / name).read_bytes() for name in TABLES]


def unbroken(scans, tmp_path, **options) -> list[bytes]:
    """Return the files of a cohort that was made in one go, with nothing known before."""
    folder = tmp_path / "unbroken"
    folder.mkdir()
    index_sources([scans], folder, **options)
    return cohort_of(folder)


def again(scans, out, **options):
    return scan_sources([scans], out, resume=True, **options)


def test_a_second_run_reads_nothing(scans, out, tmp_path):
    first = scan_sources([scans], out)
    second = again(scans, out)
    assert (first.files, first.read, first.series, first.judged) == (13, 13, 5, 5)
    assert (second.files, second.read, second.series, second.judged) == (13, 0, 5, 0)
    assert cohort_of(out) == unbroken(scans, tmp_path)


def add(scans):
    write_nifti(scans / "new_T1w.nii", MR + 50, AFFINE)


def change(scans):
    write_nifti(scans / "sub-1" / "a_T1w.nii.gz", MR[::-1], AFFINE)


def remove(scans):
    shutil.rmtree(scans / "sub-2")


def remove_slice(scans):
    (scans / "series" / "slice_0003.dcm").unlink()


def add_slice(scans):
    files = fake.write_ct(scans.parent / "longer", data=fake.body((7, 6, 9)), patient_id="Doe^John")
    shutil.copy(files[-1], scans / "series")


def tell_modality(scans):
    (scans / "sub-1" / "a_T1w.json").write_text('{"Modality": "PT"}')


@pytest.mark.parametrize(
    ("edit", "read", "judged"),
    [
        (add, 1, 1),
        (change, 1, 1),
        (remove, 0, 0),
        (remove_slice, 0, 1),
        (add_slice, 1, 1),
        (tell_modality, 1, 1),
    ],
)
def test_a_later_run_reads_what_changed_and_finds_what_a_first_one_would(
    scans, out, tmp_path, edit, read, judged
):
    index_sources([scans], out)
    before = cohort_of(out)
    edit(scans)
    done = again(scans, out)
    assert (done.read, done.judged) == (read, judged)
    assert cohort_of(out) == unbroken(scans, tmp_path) != before


def test_voxels_in_a_file_of_their_own_count_as_well(scans, out, tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    sitk.WriteImage(sitk.GetImageFromArray(MR), str(scans / "a_T1w.mhd"))
    index_sources([scans], out)
    sitk.WriteImage(sitk.GetImageFromArray(MR[::-1].copy()), str(tmp_path / "a_T1w.mhd"))
    shutil.copy(tmp_path / "a_T1w.raw", scans / "a_T1w.raw")
    assert again(scans, out).judged == 1
    assert cohort_of(out) == unbroken(scans, tmp_path)


def test_other_options_judge_anew_without_looking_anew(scans, out, tmp_path):
    index_sources([scans], out)
    policy = Policy(min_slices=7)
    done = again(scans, out, policy=policy)
    assert (done.read, done.judged) == (0, 5)
    assert cohort_of(out) == unbroken(scans, tmp_path, policy=policy)


def test_sources_are_known_by_their_place_not_their_number(scans, out, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    # The same path, size and time as a file of the first source, and other voxels.
    shutil.copytree(scans / "sub-0", other / "sub-0")
    write_nifti(scans / "x_T1w.nii", MR, AFFINE)
    write_nifti(other / "x_T1w.nii", MR + 7, AFFINE)
    about = (scans / "x_T1w.nii").stat()
    os.utime(other / "x_T1w.nii", ns=(about.st_atime_ns, about.st_mtime_ns))
    scan_sources([scans, other], out)
    done = scan_sources([other, scans], out, resume=True)
    assert done.read == done.judged == 0
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    index_sources([other, scans], fresh)
    assert cohort_of(out) == cohort_of(fresh)


def spoil_start(path):
    path.write_bytes(b"not a database" + path.read_bytes()[14:])


def spoil_pages(path):
    content = bytearray(path.read_bytes())
    for page in range(1, len(content) // 4096):
        content[page * 4096 : page * 4096 + 8] = b"\xff" * 8
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize("spoil", [spoil_start, spoil_pages, cut])
def test_a_damaged_journal_is_begun_anew(scans, out, tmp_path, spoil):
    index_sources([scans], out)
    spoil(out / JOURNAL)
    done = again(scans, out)
    assert done.was_damaged
    assert done.read == done.files
    assert cohort_of(out) == unbroken(scans, tmp_path)
    assert not again(scans, out).was_damaged


def test_a_journal_of_another_version_or_salt_is_not_believed(scans, out, tmp_path, monkeypatch):
    index_sources([scans], out)
    with sqlite3.connect(out / JOURNAL) as database:
        database.execute("UPDATE about SET value = 'older' WHERE name = 'reader'")
    database.close()
    assert again(scans, out).read == 13
    monkeypatch.setenv("MEDSSL_HOME", str(tmp_path / "another home"))
    done = again(scans, out)
    assert done.read == 13
    assert not done.was_damaged


def test_without_resume_nothing_is_known(scans, out):
    index_sources([scans], out)
    assert scan_sources([scans], out).read == 13


def test_a_journal_names_no_patient_and_no_uid_and_is_private(scans, out):
    tags = {"PatientName": "Zzyzx^Ada", "StudyDate": "20200202", "AcquisitionTime": "111213"}
    files = fake.write_ct(scans / "more", patient_id="Zzyzx", series="7", attributes=tags)
    index_sources([scans], out)
    journal = out / JOURNAL
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600
    content = journal.read_bytes()
    uid = fake.pydicom.dcmread(files[0]).SeriesInstanceUID
    for secret in ("Zzyzx", "Doe", "20200202", "111213", uid):
        assert secret.encode() not in content


def test_two_runs_at_once_are_refused(scans, out):
    with Journal(out, "salt"), pytest.raises(UsageError, match="another medssl index"):
        index_sources([scans], out)


def test_a_folder_that_can_not_be_written_is_said(scans, tmp_path):
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / JOURNAL).mkdir()
    with pytest.raises(OutputError, match="--out"):
        index_sources([scans], tmp_path / "file")


def test_a_source_that_lost_everything_leaves_the_cohort_as_it_was(scans, out):
    index_sources([scans], out)
    before = cohort_of(out)
    shutil.rmtree(scans)
    scans.mkdir()
    with pytest.raises(InputError, match="no usable image"):
        again(scans, out)
    assert cohort_of(out) == before
    assert len(Cohort.open(out)) == 4


@pytest.mark.parametrize("count", [1, 3])
def test_parts_make_the_cohort_of_the_whole(scans, out, tmp_path, count):
    (scans / "scattered").mkdir()  # one series over two folders, perhaps of two parts
    for number, path in enumerate(sorted((scans / "series").iterdir())):
        if number % 2:
            path.rename(scans / "scattered" / path.name)
    parts = [Part(number, count) for number in range(count)]
    for part in parts:
        part.folder(out).mkdir(parents=True)
        done = scan_sources([scans], out, part=part)
        assert done.cohort is None
        assert [path.name for path in part.folder(out).iterdir()] == [JOURNAL]
    assert [path.name for path in out.iterdir()] == [PARTS]
    done = again(scans, out)
    assert done.read == 0
    assert done.judged <= 1
    assert cohort_of(out) == unbroken(scans, tmp_path)


DYING = """
import os, sys
from pathlib import Path
from medssl.cohort.scan import index_sources

def die(items, *, total, unit, doing):
    for number, item in enumerate(items):
        if (doing, number) == (sys.argv[3], int(sys.argv[4])):
            os.kill(os.getpid(), 9)
        yield item

index_sources([sys.argv[1]], Path(sys.argv[2]), resume=True, progress=die)
"""


@pytest.mark.parametrize("moments", [[("scanning", 0), ("scanning", 7)], [("reading", 3)]])
def test_a_run_that_is_killed_is_taken_up_again(scans, out, tmp_path, moments):
    for doing, number in moments:
        command = [sys.executable, "-c", DYING, scans, out, doing, str(number)]
        assert subprocess.run(command).returncode == -signal.SIGKILL
    assert not (out / "volumes.parquet").exists()
    again(scans, out)
    assert cohort_of(out) == unbroken(scans, tmp_path)


def test_a_part_that_is_damaged_or_under_way_is_read_anew_or_waited_for(scans, out, tmp_path):
    parts = [Part(number, 2) for number in range(2)]
    for part in parts:
        part.folder(out).mkdir(parents=True)
        scan_sources([scans], out, part=part)
    cut(parts[0].folder(out) / JOURNAL)
    done = again(scans, out)
    assert 0 < done.read < 13
    assert cohort_of(out) == unbroken(scans, tmp_path)
    (out / JOURNAL).unlink()
    with Journal(parts[1].folder(out), "salt"), pytest.raises(UsageError, match="wait"):
        again(scans, out)
