from __future__ import annotations

import fake_dicom as fake
import numpy as np
import pytest
from faults.dicom_series import enhanced, transcode
from pydicom.uid import RLELossless

from medssl.errors import VolumeReadError
from medssl.io.dicom_headers import read_dicom_header
from medssl.io.dicom_pixels import read_file_pixels
from medssl.io.dicom_series import DicomSeriesReader

READER = DicomSeriesReader()


def padded(folder, pads, *, corners=None):
    """Write a CT whose stored 0, its lowest value, is -3000 HU, and read it."""
    files = fake.write_ct(folder)

    def change(dataset, _):
        dataset.RescaleIntercept = "-3000"
        for keyword, value in pads.items():
            dataset.add_new(keyword, "US", value)
        stored = np.frombuffer(dataset.PixelData, np.uint16).reshape(6, 7).copy()
        if corners is not None:
            stored[:2, :2] = stored[-2:, :2] = stored[:2, -2:] = stored[-2:, -2:] = corners
        dataset.PixelData = stored.tobytes()

    fake.edit_all(files, change)
    return READER.read(folder).data


def test_padding_becomes_air(tmp_path):
    lowest = np.argwhere(fake.body() == fake.body().min())[0]
    assert padded(tmp_path, {"PixelPaddingValue": 0})[tuple(lowest)] == -1024


def test_a_range_of_padding_becomes_air(tmp_path):
    data = padded(tmp_path, {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 1000})
    inside = fake.body().astype(int) - fake.body().min() <= 1000
    assert np.all(data[inside] == -1024)
    assert np.all(data[~inside] > -2000)


def test_a_round_field_of_view_is_seen_by_its_corners(tmp_path):
    data = padded(tmp_path, {}, corners=0)
    assert data[0, 0, 0] == data[-1, -1, 3] == data[1, -2, 5] == -1024
    assert data.min() < -1024  # a low value within is kept


def test_padding_that_means_tissue_is_a_mistake_of_the_writer(tmp_path):
    data = padded(tmp_path, {"PixelPaddingValue": 3000})  # 0 HU
    assert not np.any(data == -1024)


def test_a_picture_of_many_is_read_alone(tmp_path):
    enhanced(tmp_path, [(at, {}) for at in range(10)])
    (path,) = tmp_path.iterdir()
    pixels = read_dicom_header(path).pixels
    every = read_file_pixels(path, pixels, set(range(10))).stored
    one = read_file_pixels(path, pixels, {7}).stored
    assert list(one) == [7]
    assert np.array_equal(one[7], every[7])


@pytest.mark.parametrize(("is_packed", "code"), [(False, "truncated"), (True, "too_large")])
def test_a_bomb_of_rows_is_refused_before_memory_is_asked_for(tmp_path, is_packed, code):
    (path, *_) = fake.write_ct(tmp_path)
    if is_packed:
        transcode(path, RLELossless)
    fake.edit(path, fake.put(Rows=65535, Columns=65535))
    with pytest.raises(VolumeReadError) as caught:
        READER.read(path)
    assert caught.value.code == code
