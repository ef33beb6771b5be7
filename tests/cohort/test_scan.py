from __future__ import annotations

import csv
import json
import os
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor

import fake_dicom as fake
import numpy as np
import pytest

from medssl.cohort.admit import Policy
from medssl.cohort.cohort import Cohort
from medssl.cohort.crew import Crew, Limits
from medssl.cohort.scan import index_sources, scan_sources
from medssl.errors import InputError, VolumeReadError
from medssl.io.nifti import write_nifti
from medssl.io.sandbox import SandboxFault

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])
MR = np.random.default_rng(0).integers(0, 900, (8, 9, 7)).astype(np.int16)


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "cohort"
    folder.mkdir()
    return folder


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    return folder


def verdicts(out) -> dict[str, str]:
    with (out / "quarantine.csv").open(newline="") as lines:
        return {row["path"]: row["code"] for row in csv.DictReader(lines)}


def test_every_file_ends_in_one_of_three_ways(scans, out):
    fake.write_ct(scans / "series")
    write_nifti(scans / "a_T1w.nii.gz", MR, AFFINE)
    write_nifti(scans / "flat.nii.gz", MR * 0 + 5, AFFINE)
    write_nifti(scans / "thin.nii.gz", MR[:, :, :3], AFFINE)
    write_nifti(scans / "mask.nii.gz", (MR > 300).astype(np.uint8), AFFINE)
    (scans / "page.nii.gz").write_text("<html>")
    (scans / "report.dcm").write_text("not DICOM" * 30)
    (scans / "old.hdr").write_bytes(b"\0" * 348)
    (scans / "README.md").write_text("hello")
    (scans / ".hidden").write_text("x")
    (scans / "more.zip").write_bytes(b"PK")
    cohort = index_sources([scans], out)
    assert len(cohort) == 2
    assert verdicts(out) == {
        "flat.nii.gz": "no_content",
        "thin.nii.gz": "too_few_slices",
        "mask.nii.gz": "not_image_object",
        "page.nii.gz": "not_an_image",
        "report.dcm": "not_an_image",
        "old.hdr": "unreadable",
        "more.zip": "corrupt",
    }
    summary = json.loads((out / "summary.json").read_text())
    assert summary["ignored"] == {
        "hidden": 1,
        "other kind of file": 1,
    }
    assert summary["modality"] == {"mr": 1, "ct": 1}
    assert summary["volumes"] == 2
    assert summary["quarantined"] == 7


def test_the_table_tells_what_was_read_and_reads_it_again(scans, out):
    fake.write_ct(scans / "series", affine=fake.oblique(), patient_id="Doe^John")
    write_nifti(scans / "a_T1w.nii.gz", MR, np.diag([-1.0, 1.0, 2.0, 1.0]))
    index_sources([scans], out)
    cohort = Cohort.open(out)
    rows = {row["format"]: row for row in map(cohort.row, cohort.ids)}
    dicom, nifti = rows["dicom"], rows["nifti"]
    assert (dicom["path"], len(dicom["files"]), dicom["modality"]) == ("series", 8, "ct")
    assert (nifti["path"], nifti["files"], nifti["modality"]) == ("a_T1w.nii.gz", [], "mr")
    assert nifti["shape"] == [8, 9, 7]
    assert nifti["spacing_mm"] == [1.0, 1.0, 2.0]
    assert nifti["orientation"] == "LAS"
    assert np.allclose(np.reshape(dicom["affine"], (4, 4))[:3, 3], fake.oblique()[:3, 3], atol=1e-3)
    volume = cohort.read(dicom["id"])
    assert np.array_equal(volume.data, fake.body())
    assert volume.modality == "ct"
    assert cohort.verify() == ["2 volumes are where and what they were"]


def test_the_same_sources_give_the_same_cohort_also_from_elsewhere(scans, out, tmp_path):
    fake.write_ct(scans / "series")
    write_nifti(scans / "a_T1w.nii.gz", MR, AFFINE)
    first = index_sources([scans], out)
    second_out = tmp_path / "second"
    second_out.mkdir()
    moved = scans.rename(tmp_path / "moved")
    with ThreadPoolExecutor(2) as pool:
        second = index_sources([moved], second_out, crew=Crew(pool))
    assert first.table.equals(second.table)


def test_ids_come_from_content_and_place(scans, out):
    for name, data, affine in (
        ("a.nii", MR, AFFINE),
        ("b.nii", MR + 1, AFFINE),
        ("c.nii", MR, AFFINE + np.eye(4, k=3) * 9),
    ):
        write_nifti(scans / name, data, affine)
    assert len(set(index_sources([scans], out).ids)) == 3


def test_copies_are_found_across_formats_types_and_orientations(scans, out):
    fake.write_ct(scans / "dicom", data=MR, affine=AFFINE, patient_id="one")
    flipped = AFFINE @ np.array([[-1.0, 0, 0, 7], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    write_nifti(scans / "two.nii.gz", MR[::-1].astype(np.float32), flipped)
    write_nifti(scans / "two.nii", MR, AFFINE)
    cohort = index_sources([scans], out)
    assert len(cohort) == 2
    marks = sorted(cohort.table["duplicate_of"].to_pylist(), key=str)
    assert marks[0] in cohort.ids
    assert marks[1] is None
    assert list(verdicts(out).values()) == ["duplicate"]


def test_one_patient_is_one_name_whatever_the_study(scans, out):
    fake.write_ct(scans / "a", patient_id="Doe^John", study="1")
    fake.write_ct(scans / "b", patient_id="Doe^John", study="2", data=fake.body(seed=1))
    fake.write_ct(scans / "c", patient_id="Roe^Jane", study="1", data=fake.body(seed=2))
    table = index_sources([scans], out).table
    assert len(set(table["patient"].to_pylist())) == 2
    assert len(set(table["study"].to_pylist())) == 3


@pytest.mark.parametrize(
    ("name", "dtype", "given", "expected"),
    [
        ("a_T1w.nii", np.int16, "ct", "mr"),
        ("a.nii", np.int16, "mr", "mr"),
        ("a.nii", np.int16, "unknown", "unknown"),
    ],
)
def test_the_users_word_fills_gaps_and_overrules_nothing(scans, out, name, dtype, given, expected):
    write_nifti(scans / name, MR.astype(dtype), AFFINE)
    cohort = index_sources([scans], out, policy=Policy(modality=given))
    assert cohort.row(cohort.ids[0])["modality"] == expected


def test_hounsfield_units_say_ct_and_their_absence_is_remarked(scans, out):
    body = np.clip(np.random.default_rng(0).normal(0, 80, (8, 8, 8)), -200, 900).astype(np.int16)
    body[:2] = -1000
    write_nifti(scans / "a.nii", body, AFFINE)
    write_nifti(scans / "b_ct.nii", body + 1000, AFFINE)
    cohort = index_sources([scans], out)
    rows = {row["path"]: row for row in map(cohort.row, cohort.ids)}
    assert (rows["a.nii"]["modality"], rows["a.nii"]["fixes"]) == ("ct", [])
    assert rows["b_ct.nii"]["fixes"] == ["intensity_suspect"]


def test_what_holds_paths_is_readable_by_the_user_alone(scans, out):
    write_nifti(scans / "Doe.nii", MR, AFFINE)
    index_sources([scans], out)
    for name in ("volumes.parquet", "quarantine.csv", "sources.json"):
        assert stat.S_IMODE((out / name).stat().st_mode) == 0o600
    assert "Doe" not in (out / "summary.json").read_text()


def test_a_source_without_an_image_is_refused_with_counts(scans, out):
    (scans / "page.nii.gz").write_text("<html>")
    (scans / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r'"scans".*1 other.*1 not_an_image'):
        index_sources([scans], out)
    assert list(out.iterdir()) == []


def test_a_volume_whose_file_is_gone_or_changed_is_named_by_its_id(scans, out):
    write_nifti(scans / "Doe.nii", MR, AFFINE)
    cohort = index_sources([scans], out)
    (name,) = cohort.ids
    write_nifti(scans / "Doe.nii", MR + 1, AFFINE)
    with pytest.raises(InputError, match=name):
        cohort.verify()
    (scans / "Doe.nii").unlink()
    with pytest.raises(VolumeReadError, match=name) as caught:
        cohort.read(name)
    assert "Doe" not in str(caught.value)
    with pytest.raises(InputError, match="no volume"):
        cohort.row("absent")


def test_a_cohort_that_is_none_or_damaged_is_refused(scans, out, tmp_path):
    with pytest.raises(InputError, match="medssl index"):
        Cohort.open(tmp_path)
    write_nifti(scans / "a.nii", MR, AFFINE)
    index_sources([scans], out)
    (out / "volumes.parquet").write_bytes((out / "volumes.parquet").read_bytes()[:-50])
    with pytest.raises(InputError, match="damaged"):
        Cohort.open(out)


def test_two_sources_are_told_apart_in_the_quarantine(scans, out, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    write_nifti(scans / "a.nii", MR, AFFINE)
    shutil.copy(scans / "a.nii", other / "b.nii")
    (other / "c.nii").write_text("x")
    cohort = index_sources([scans, other], out)
    assert cohort.table["source"].to_pylist() == [0, 1]
    assert verdicts(out) == {"other/c.nii": "not_an_image"}
    assert all(cohort.read(name).data.shape == (8, 9, 7) for name in cohort.ids)


def test_a_planar_image_is_admitted_where_pictures_are_meant(scans, out):
    write_nifti(scans / "a.nii", MR[:, :, 0], AFFINE)
    with pytest.raises(InputError, match="too_few_slices"):
        index_sources([scans], out)
    cohort = index_sources([scans], out, policy=Policy(modality="xr"))
    assert cohort.row(cohort.ids[0])["shape"] == [8, 9]


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "volumes", "codes"),
    [
        ("dicom_enhanced", 8, {"time_series": 1}),
        ("dicom_seg/segmentations/ct-3slice", 0, {"too_few_slices": 1}),
        ("multiple_sclerosis", 6, {"not_image_object": 1}),
    ],
)
def test_public_data_gets_sensible_verdicts(shared_data, out, name, volumes, codes):
    if volumes == 0:
        with pytest.raises(InputError, match=next(iter(codes))):
            index_sources([shared_data(name)], out)
        return
    cohort = index_sources([shared_data(name)], out)
    assert len(cohort) == volumes
    assert json.loads((out / "summary.json").read_text())["codes"] == codes


def test_pipes_and_series_cut_short_are_lines_of_the_quarantine(scans, out):
    write_nifti(scans / "a.nii", MR, AFFINE)
    os.mkfifo(scans / "pipe.nii")
    files = fake.write_ct(scans / "cut")
    files[2].write_bytes(files[2].read_bytes()[:-10])
    gap = fake.write_ct(scans / "gap", series="2")
    gap[3].unlink()
    (single,) = fake.write_ct(scans / "single", series="3", data=fake.body((7, 6, 1)))
    assert single.name == "slice_0001.dcm"
    index_sources([scans], out)
    assert verdicts(out) == {
        "pipe.nii": "unreadable",
        "cut": "truncated",
        "gap": "missing_slices",
        "single/slice_0001.dcm": "too_few_slices",
    }
    assert "(7 files)" in (out / "quarantine.csv").read_text()


def test_a_series_scattered_over_folders_is_read_from_where_they_meet(scans, out):
    files = fake.write_ct(scans / "disc" / "one")
    (scans / "disc" / "two").mkdir()
    for path in files[4:]:
        path.rename(scans / "disc" / "two" / path.name)
    cohort = index_sources([scans], out)
    row = cohort.row(cohort.ids[0])
    assert row["path"] == "disc"
    assert row["files"][-1] == "two/slice_0008.dcm"
    assert np.array_equal(cohort.read(cohort.ids[0]).data, fake.body())


@pytest.mark.parametrize("part", [0, 1])
def test_volumes_that_share_files_are_read_one_by_one(scans, out, part):
    for echo in range(2):
        tags = {"EchoTime": str(echo + 1)}
        data = MR + 7 * echo
        fake.write_ct(scans / str(echo), data=data, modality="mr", attributes=tags)
    cohort = index_sources([scans], out)
    row = cohort.row(cohort.ids[part])
    assert row["fixes"] == ["frames_split"]
    assert np.array_equal(cohort.read(row["id"]).data, MR + 7 * int(row["path"]))


class Dies:
    """Runs as a child would that one item ends, or one kind of work."""

    def __init__(self, kind, dies) -> None:
        self.fault = SandboxFault(kind)
        self.dies = dies

    def __call__(self, function, items):
        for place, item in enumerate(items):
            yield self.fault if self.dies(function, place) else function(item)


@pytest.mark.parametrize(
    ("kind", "code"), [("crash", "corrupt"), ("timeout", "corrupt"), ("memory", "too_large")]
)
def test_a_reader_that_does_not_survive_costs_one_volume(scans, out, kind, code):
    for echo in range(2):
        tags = {"EchoTime": str(echo + 1)}
        data = MR + 7 * echo
        fake.write_ct(scans / str(echo), data=data, modality="mr", attributes=tags)
    run = Dies(kind, lambda function, place: function.__name__ == "_admit" and place == 0)
    crew = OneRun(run)
    index_sources([scans], out, crew=crew)
    assert list(verdicts(out).values()) == [code]
    assert len(Cohort.open(out)) == 1
    # Under other limits it is judged again, under the same it stands.
    assert scan_sources([scans], out, crew=crew, resume=True).judged == 0
    done = scan_sources([scans], out, crew=Crew(limits=None, ahead=1), resume=True)
    assert done.judged == 0
    looser = OneRun(map, Limits(seconds=600.0))
    assert scan_sources([scans], out, crew=looser, resume=True).judged == 1
    assert len(Cohort.open(out)) == 2


class OneRun(Crew):
    """A crew whose functions run as the test says."""

    def __init__(self, run, limits=None) -> None:
        super().__init__(None, limits)
        object.__setattr__(self, "run", run)

    def each(self, function, tasks):
        for key, task in tasks:
            yield key, function(self.run, task)


def test_a_file_whose_look_ends_the_reader_is_a_line_of_the_quarantine(scans, out):
    write_nifti(scans / "a_T1w.nii", MR, AFFINE)
    write_nifti(scans / "b_T1w.nii", MR, AFFINE)
    run = Dies("crash", lambda function, place: function.__name__ == "_look" and place == 0)
    index_sources([scans], out, crew=OneRun(run))
    assert verdicts(out) == {"a_T1w.nii": "corrupt"}
