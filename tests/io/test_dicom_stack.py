from __future__ import annotations

import shutil

import fake_dicom as fake
import numpy as np
import pytest

from medssl.errors import VolumeReadError
from medssl.io.dicom_headers import read_dicom_header
from medssl.io.dicom_series import (
    DicomSeriesReader,
    FoundVolume,
    RefusedFiles,
    sort_into_volumes,
    write_dicom_series,
)

READER = DicomSeriesReader()


def verdicts(paths) -> list[FoundVolume | RefusedFiles]:
    return sort_into_volumes([read_dicom_header(path) for path in paths])


def code_of(paths) -> str:
    with pytest.raises(VolumeReadError) as caught:
        READER.read(list(paths))
    return caught.value.code


@pytest.mark.parametrize(
    ("tag", "values"),
    [
        ("AcquisitionNumber", (1, 2)),
        ("EchoTime", ("2.5", "5")),
        ("TemporalPositionIdentifier", (1, 2)),
        ("AcquisitionTime", ("101010", "101059")),
        ("ImageType", (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"])),
    ],
)
def test_phases_under_one_uid_are_told_apart(tmp_path, tag, values):
    first = fake.write_ct(tmp_path / "a", attributes={tag: values[0]})
    second = fake.write_ct(tmp_path / "b", data=fake.body(seed=1), attributes={tag: values[1]})
    found = verdicts([*first, *second])
    assert [type(verdict) for verdict in found] == [FoundVolume, FoundVolume]
    assert {verdict.files for verdict in found} == {tuple(first), tuple(second)}
    assert all(verdict.fixes == ("frames_split",) for verdict in found)


def test_phases_that_nothing_tells_apart_are_not_stacked(tmp_path):
    first = fake.write_ct(tmp_path / "a")
    second = fake.write_ct(tmp_path / "b", data=fake.body(seed=1))
    assert code_of([*first, *second]) == "ambiguous_stack"


def test_many_phases_are_a_time_series(tmp_path):
    files = []
    for phase in range(11):
        tags = {"TemporalPositionIdentifier": phase}
        data = fake.body((4, 4, 4), seed=phase)
        files += fake.write_ct(tmp_path / str(phase), data=data, attributes=tags)
    (verdict,) = verdicts(files)
    assert verdict.code == "time_series"


def test_an_acquisition_number_for_each_slice_splits_nothing(tmp_path):
    files = fake.write_ct(tmp_path)
    fake.edit_all(files, lambda dataset, k: setattr(dataset, "AcquisitionNumber", k))
    assert READER.read(tmp_path).data.shape == (7, 6, 8)


@pytest.mark.parametrize("missing", [[3], [2, 5], [2, 3]])
def test_missing_slices_are_counted(tmp_path, missing):
    files = [f for k, f in enumerate(fake.write_ct(tmp_path)) if k not in missing]
    (verdict,) = verdicts(files)
    assert verdict.code == "missing_slices"
    assert f"{len(missing)} of 8" in verdict.detail


def test_a_slice_that_is_there_twice_is_dropped_only_if_it_is_the_same(tmp_path):
    files = fake.write_ct(tmp_path)
    copy = tmp_path / "copy.dcm"
    shutil.copy(files[3], copy)
    reference = fake.body()
    volume = READER.read([*files, copy])
    assert volume.fixes == ("duplicate_slice_dropped",)
    assert volume.data.shape == reference.shape
    fake.edit(copy, lambda dataset: setattr(dataset, "PixelData", dataset.PixelData[::-1]))
    assert code_of([*files, copy]) == "duplicate_slices"


def test_an_odd_slice_is_dropped_by_size_and_refused_by_direction(tmp_path):
    files = fake.write_ct(tmp_path / "a")
    (small, *_) = fake.write_ct(tmp_path / "b", data=fake.body((5, 6, 1)))
    volume = READER.read([*files, small])
    assert volume.fixes == ("odd_slice_dropped",)
    assert volume.data.shape == (7, 6, 8)
    fake.edit(files[2], fake.put(ImageOrientationPatient=[1, 0, 0, 0, 0, -1]))
    assert code_of(files) == "mixed_orientation"


def test_two_stacks_of_one_series_are_two_volumes(tmp_path):
    first = fake.write_ct(tmp_path / "a")
    second = fake.write_ct(tmp_path / "b", affine=fake.oblique())
    assert len(verdicts([*first, *second])) == 2


def test_uneven_slices_are_resampled_at_their_true_places(tmp_path):
    ramp = np.broadcast_to(np.arange(8.0), (7, 6, 8))
    heights = np.array([0, 2, 4, 6, 9, 12, 15, 18.0])
    files = fake.write_ct(tmp_path, data=ramp * 0)
    for path, height in zip(files, heights, strict=True):
        fake.edit(path, lambda dataset, z=height: fake.move_to(dataset, z))
        value = np.full((6, 7), 100 + round(10 * height), np.uint16)
        fake.edit(path, lambda d, v=value: setattr(d, "PixelData", v.tobytes()))
    volume = READER.read(tmp_path)
    assert volume.fixes == ("uneven_resampled",)
    assert volume.spacing_mm[2] == pytest.approx(2.0)
    places = volume.affine[2, 2] * np.arange(volume.data.shape[2]) + volume.affine[2, 3]
    assert np.allclose(volume.data[3, 3], 100 + 10 * places, atol=1)


def test_a_tilted_gantry_is_straightened_at_true_places(tmp_path):
    shape, lean = (12, 14, 10), 0.8
    tilted = np.diag([1.0, 1.0, 2.0, 1.0])
    tilted[1, 2] = lean
    index = np.argwhere(np.ones(shape, bool))
    points = index @ tilted[:3, :3].T
    data = (points @ [10.0, 20.0, 5.0]).reshape(shape)
    write_dicom_series(tmp_path, data, tilted, "ct")
    volume = READER.read(tmp_path)
    assert volume.fixes == ("tilt_resampled",)
    steps = volume.affine[:3, :3].T @ volume.affine[:3, :3]
    assert np.allclose(steps, np.diag([1.0, 1.0, 4.0]))
    # A plane in space stays the same plane wherever a slice saw it.
    grid = np.argwhere(np.ones(volume.data.shape, bool))
    places = grid @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    expected = places @ [10.0, 20.0, 5.0]
    lean_at = places[:, 2] / 2.0 * lean
    seen = (places[:, 1] >= lean_at) & (places[:, 1] <= lean_at + shape[1] - 1)
    assert seen.mean() > 0.5
    assert np.abs(volume.data.ravel()[seen] - expected[seen]).max() <= 2


@pytest.mark.data
def test_an_enhanced_object_of_two_stacks_is_two_volumes(shared_data):
    (path,) = (shared_data("dicom_enhanced") / "In" / "Philips").iterdir()
    found = verdicts([path])
    assert [verdict.part for verdict in found] == [0, 1]
    for verdict in found:
        volume = READER.read_part(verdict.files, verdict.part)
        assert volume.data.shape == (64, 64, 32)
        assert volume.fixes == ("frames_split",)
    assert code_of([path]) == "ambiguous_stack"
