from __future__ import annotations

import fake_dicom as fake
import numpy as np
import pytest
from faults.dicom_series import enhanced
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medssl.errors import VolumeReadError
from medssl.io.contract import ReadRules
from medssl.io.dicom_headers import read_dicom_header
from medssl.io.dicom_series import (
    DicomSeriesReader,
    FoundVolume,
    RefusedFiles,
    read_found,
    sort_into_volumes,
)

READER = DicomSeriesReader()


def verdicts(paths, **rules) -> list[FoundVolume | RefusedFiles]:
    return sort_into_volumes([read_dicom_header(path) for path in paths], ReadRules(**rules))


def over_time(folder, count: int):
    """Write an enhanced object of some moments, and return its file."""
    moments = [{"TemporalPositionIndex": moment + 1} for moment in range(count)]
    enhanced(folder, [(at, moment) for moment in moments for at in range(5)])
    (path,) = folder.iterdir()
    return path


def test_two_stacks_of_one_series_are_two_volumes(tmp_path):
    first = fake.write_ct(tmp_path / "a")
    second = fake.write_ct(tmp_path / "b", affine=fake.oblique())
    assert len(verdicts([*first, *second])) == 2


def test_volumes_of_one_file_keep_their_numbers_under_all_rules(tmp_path):
    path = over_time(tmp_path, 11)
    (held,) = verdicts([path])
    assert held.code == "time_series"
    (first,) = verdicts([path], time_series="first")
    every = verdicts([path], time_series="split")
    assert first.part == 0
    assert [found.part for found in every] == list(range(11))
    for found in (first, every[7]):
        assert np.array_equal(
            READER.read_part(found.files, found.part).data, read_found(found).data
        )


def test_a_volume_of_several_is_read_by_its_number(tmp_path):
    path = over_time(tmp_path, 3)
    assert READER.count(path) == 3
    assert READER.read_header(path, 2).shape == (12, 11, 5)
    assert READER.read(path, 2).fixes == ("frames_split",)
    for part in (None, 3):
        with pytest.raises(VolumeReadError) as caught:
            READER.read(path, part)
        assert caught.value.code == "ambiguous_stack"
    with pytest.raises(VolumeReadError) as caught:
        READER.read_part([path], 3)
    assert caught.value.code == "unreadable"


def test_a_folder_with_a_damaged_slice_is_not_read_without_it(tmp_path):
    files = fake.write_ct(tmp_path)
    files[-1].write_bytes(files[-1].read_bytes()[:380])
    with pytest.raises(VolumeReadError) as caught:
        READER.read(tmp_path)
    assert caught.value.code == "truncated"


def test_a_film_is_held_or_taken_apart_into_pictures(tmp_path):
    (path,) = fake.write_ct(tmp_path, data=fake.body((9, 7)), affine=np.eye(4), modality="us")
    region = Dataset()
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.02, 0.03

    def film(dataset):
        dataset.NumberOfFrames, dataset.PixelData = 3, dataset.PixelData * 3
        dataset.SequenceOfUltrasoundRegions = Sequence([region])
        del dataset.PixelSpacing, dataset.ImagerPixelSpacing

    fake.edit(path, film)
    (held,) = verdicts([path])
    assert held.code == "time_series"
    pictures = verdicts([path], time_series="split")
    assert [picture.part for picture in pictures] == [0, 1, 2]
    assert read_found(pictures[2]).data.shape == (9, 7)
    assert read_found(pictures[2]).spacing_mm == pytest.approx((0.2, 0.3))
    assert pictures[2].fixes == ("orientation_unknown", "frames_split")


def test_makers_and_numbers_of_series_are_told(tmp_path):
    header = read_dicom_header(fake.write_ct(tmp_path)[0])
    assert (header.manufacturer, header.series_number) == ("medssl", "1")
