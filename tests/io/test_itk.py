from __future__ import annotations

import os

import numpy as np
import pytest
import SimpleITK

from medssl.errors import VolumeReadError
from medssl.io.itk import ItkReader
from medssl.io.read import READERS

DATA = np.random.default_rng(0).integers(-500, 500, (6, 5, 7)).astype(np.int16)


def reader_for(path) -> ItkReader:
    (reader,) = [r for r in READERS if isinstance(r, ItkReader) and r.can_read(path)]
    return reader


def code_of(path) -> str:
    with pytest.raises(VolumeReadError) as caught:
        reader_for(path).read(path)
    return caught.value.code


def write(path, data=DATA, *, compress=False, spacing=(0.5, 1.0, 2.0), vector=False):
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(data.T), isVector=vector)
    image.SetSpacing(spacing[: image.GetDimension()])
    image.SetOrigin((10.0, 20.0, 30.0, 0.0)[: image.GetDimension()])
    SimpleITK.WriteImage(image, str(path), compress)
    return path


def rewrite(path, old: bytes, new: bytes):
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    return path


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nhdr", ".mhd"])
@pytest.mark.parametrize("compress", [False, True])
def test_values_and_place_come_out_in_ras(tmp_path, suffix, compress):
    path = write(tmp_path / f"scan{suffix}", compress=compress)
    volume = reader_for(path).read(path)
    assert np.array_equal(volume.data, DATA)
    assert volume.data.dtype == np.int16
    expected = np.diag([-0.5, -1.0, 2.0, 1.0])
    expected[:3, 3] = [-10.0, -20.0, 30.0]
    assert np.allclose(volume.affine, expected)
    assert volume.fixes == ()


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("compress", [False, True])
def test_a_file_cut_short_or_damaged_is_never_read(tmp_path, suffix, compress, capfd):
    path = write(tmp_path / f"scan{suffix}", compress=compress)
    whole = path.read_bytes()
    for kept in (0, 4, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:kept])
        assert code_of(path) in ("truncated", "not_an_image", "no_spacing", "empty", "corrupt")
    if compress:
        # ITK itself hands on what it could unpack, without a word.
        middle = len(whole) - 100
        path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 0xFF]) + whole[middle + 1 :])
        assert code_of(path) in ("corrupt", "truncated")
    assert "WARNING" not in capfd.readouterr().err


def test_vectors_and_series_are_refused(tmp_path):
    colours = np.repeat(DATA[None], 3, axis=0)
    assert code_of(write(tmp_path / "rgb.mha", colours, vector=True)) == "not_scalar"
    series = np.repeat(DATA[..., None], 2, axis=3)
    assert code_of(write(tmp_path / "time.nrrd", series, spacing=(1.0, 1, 1, 1))) == "time_series"


def test_a_planar_image_stays_planar(tmp_path):
    path = write(tmp_path / "slice.mha", DATA[:, :, 0])
    volume = reader_for(path).read(path)
    assert np.array_equal(volume.data, DATA[:, :, 0])
    assert volume.spacing_mm == (0.5, 1.0)


def test_a_name_that_is_not_utf8_does_not_end_the_process(tmp_path):
    path = write(tmp_path / "scan.nrrd")
    odd = tmp_path / os.fsdecode(b"caf\xe9.nrrd")
    try:
        path.rename(odd)
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    assert np.array_equal(reader_for(odd).read(odd).data, DATA)
