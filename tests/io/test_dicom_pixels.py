from __future__ import annotations

import contextlib

import fake_dicom as fake
import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless

from medssl.errors import VolumeReadError
from medssl.io.dicom_series import (
    DicomSeriesReader,
)

READER = DicomSeriesReader()


def code_of(paths) -> str:
    with pytest.raises(VolumeReadError) as caught:
        READER.read(list(paths))
    return caught.value.code


def values_at(volume, points_mm) -> np.ndarray:
    """Return the values of the voxels whose centres are the points."""
    inverse = np.linalg.inv(volume.affine)
    index = np.rint(points_mm @ inverse[:3, :3].T + inverse[:3, 3]).astype(int)
    return volume.data[tuple(index.T)]


def test_run_length_encoding_is_read(tmp_path):
    files = fake.write_ct(tmp_path)
    reference = READER.read(tmp_path).data
    for path in files:
        dataset = pydicom.dcmread(path)
        dataset.compress(RLELossless)
        dataset.save_as(path)
    assert np.array_equal(READER.read(tmp_path).data, reference)


def test_pixels_cut_short_are_truncated(tmp_path):
    files = fake.write_ct(tmp_path)
    files[4].write_bytes(files[4].read_bytes()[:-20])
    assert code_of(files) == "truncated"


def test_files_cut_anywhere_earn_a_verdict(tmp_path):
    files = fake.write_ct(tmp_path)
    whole = files[0].read_bytes()
    for kept in range(0, len(whole) - 1, 41):
        files[0].write_bytes(whole[:kept])
        with pytest.raises(VolumeReadError):
            READER.read(files[0])


def test_flipped_bytes_never_end_in_anything_but_a_verdict(tmp_path):
    files = fake.write_ct(tmp_path, data=fake.body((4, 4, 4)))
    whole = files[0].read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(whole), 60):
        files[0].write_bytes(
            whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :]
        )
        with contextlib.suppress(VolumeReadError):
            assert READER.read(files).data.size


def test_a_numbers_string_that_is_too_long_keeps_its_value(tmp_path):
    files = fake.write_ct(tmp_path, affine=fake.oblique())
    reference = READER.read(tmp_path)
    for path in files:
        content = path.read_bytes()
        dataset = pydicom.dcmread(path)
        long = "\\".join(f"{float(v):.17f}" for v in dataset.ImageOrientationPatient)
        long += " " * (len(long) % 2)
        old = dataset["ImageOrientationPatient"]
        text = "\\".join(str(v) for v in old.value)
        text += " " * (len(text) % 2)
        head = b"\x20\x00\x37\x00DS"
        before = head + len(text).to_bytes(2, "little") + text.encode()
        assert before in content
        path.write_bytes(
            content.replace(before, head + len(long).to_bytes(2, "little") + long.encode())
        )
    assert np.allclose(READER.read(tmp_path).affine, reference.affine, atol=1e-5)


def test_each_slice_is_scaled_by_its_own_header(tmp_path):
    files = fake.write_ct(tmp_path, modality="pt", data=np.abs(fake.body()))
    fake.edit_all(files, lambda dataset, k: setattr(dataset, "RescaleSlope", str(1 + k / 4)))
    volume = READER.read(tmp_path)
    stored = np.abs(fake.body()).astype(float)
    lowest = stored.min()
    assert volume.data.dtype == np.float32
    assert np.allclose(volume.data[:, :, 4], (stored[:, :, 4] - lowest) * 2 + lowest, rtol=1e-6)


def test_padding_becomes_air(tmp_path):
    files = fake.write_ct(tmp_path)
    lowest = fake.body().min()

    def pad(dataset, _):
        dataset.add_new("PixelPaddingValue", "US", 0)
        dataset.RescaleIntercept = "-3000"

    fake.edit_all(files, pad)
    volume = READER.read(tmp_path)
    at = np.argwhere(fake.body() == lowest)[0]
    assert volume.data[tuple(at)] == -1024


@pytest.mark.data
def test_nine_transfer_syntaxes_agree_with_the_reference(shared_data):
    import nibabel as nib

    root = shared_data("dicom_transfer_syntaxes")
    for number in range(1, 10):
        volume = READER.read(root / "In" / f"{number}.dcm")
        reference = nib.load(root / "Ref" / f"{number}.nii")
        index = np.argwhere(np.ones(reference.shape, bool))[::97]
        points = index @ reference.affine[:3, :3].T + reference.affine[:3, 3]
        expected = np.asarray(reference.dataobj)[tuple(index.T)]
        assert np.array_equal(values_at(volume, points), expected), number


@pytest.mark.data
def test_a_jpeg_2000_series_is_read(shared_data):
    header = READER.read_header(shared_data("totalsegmentator/example_ct_dicom"))
    assert header.shape == (512, 512, 20)
    assert np.linalg.norm(header.affine[:3, 2]) == pytest.approx(2.0)
