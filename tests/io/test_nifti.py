from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest

from medssl.errors import VolumeReadError
from medssl.io.nifti import NiftiReader, write_nifti

AFFINE = np.diag([1.0, 1.5, 2.0, 1.0])
DATA = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7) - 100
READER = NiftiReader()


def code_of(path) -> str:
    with pytest.raises(VolumeReadError) as caught:
        READER.read(path)
    assert path.name in str(caught.value)
    return caught.value.code


def write_raw(path, data=DATA, affine=AFFINE, kind=nib.Nifti1Image, **fields):
    """Write an image whose header then gets fields that nibabel would refuse or mend."""
    image = kind(data, affine)
    image.header.set_xyzt_units("mm")
    image.to_filename(path)
    content = bytearray(path.read_bytes())
    header = kind.header_class(bytes(content[: kind.header_class.sizeof_hdr]), check=False)
    for name, value in fields.items():
        header[name] = value
    content[: kind.header_class.sizeof_hdr] = header.binaryblock
    path.write_bytes(content)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "scan.nii"


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_what_is_written_is_read_back_exactly(tmp_path, dtype, suffix):
    path = tmp_path / f"scan{suffix}"
    data = np.abs(DATA).astype(dtype)
    write_nifti(path, data, AFFINE)
    volume = READER.read(path)
    assert np.array_equal(volume.data, data)
    assert volume.data.dtype == dtype
    assert np.array_equal(volume.affine, AFFINE)
    assert volume.fixes == ()


def test_types_that_nifti_lacks_are_widened_without_loss(path):
    for given, kept in ((np.bool_, np.uint8), (np.int64, np.int32), (np.float16, np.float32)):
        write_nifti(path, np.abs(DATA % 2).astype(given), AFFINE)
        volume = READER.read(path)
        assert volume.data.dtype == kept
        assert np.array_equal(volume.data, np.abs(DATA % 2))
    with pytest.raises(ValueError, match="int32"):
        write_nifti(path, np.full((2, 2, 2), 2**40), AFFINE)
    with pytest.raises(ValueError, match=r"\.nii"):
        write_nifti(path.with_suffix(".txt"), DATA, AFFINE)


def test_the_same_volume_gives_the_same_bytes(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        write_nifti(tmp_path / name, DATA, AFFINE)
    first, second = ((tmp_path / name).read_bytes() for name in ("a.nii.gz", "b.nii.gz"))
    assert gzip.decompress(first) == gzip.decompress(second)


def test_a_written_shear_is_read_back_as_one_place(path):
    sheared = AFFINE.copy()
    sheared[0, 1] = 0.05
    write_nifti(path, DATA, sheared)
    assert int(nib.load(path).header["qform_code"]) == 0
    assert READER.read(path).fixes == ("affine_orthonormalised",)


def test_planar_images_stay_planar(path):
    write_nifti(path, DATA[:, :, 0], AFFINE)
    assert READER.read(path).data.shape == (5, 6)


@pytest.mark.parametrize("kept", [0, 3, 100, 300, 360, 500])
def test_a_file_cut_short_is_never_read(tmp_path, kept):
    for suffix in (".nii", ".nii.gz"):
        path = tmp_path / f"scan{suffix}"
        write_nifti(path, DATA, AFFINE)
        path.write_bytes(path.read_bytes()[:kept])
        if suffix == ".nii" or kept < path.stat().st_size + 1:
            assert code_of(path) in ("truncated", "not_an_image")


def test_every_flipped_bit_of_a_compressed_file_is_noticed(tmp_path):
    path = tmp_path / "scan.nii.gz"
    write_nifti(path, DATA, AFFINE)
    whole = path.read_bytes()
    for position in range(len(whole) - 8, len(whole) - 4):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        assert code_of(path) == "corrupt"
    rng = np.random.default_rng(0)
    for position in rng.integers(20, len(whole) - 8, 40):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 16]) + whole[position + 1 :])
        assert code_of(path) in ("corrupt", "truncated", "not_an_image")


@pytest.mark.parametrize(
    ("slope", "inter", "expected"),
    [
        (2.0, 0.5, DATA * 2.0 + 0.5),
        (0.0, 5.0, DATA),
        (np.nan, 5.0, DATA),
        (1.0, -1024.0, DATA - 1024),
    ],
)
def test_scaling_follows_the_rule_of_the_standard(path, slope, inter, expected):
    volume = READER.read(write_raw(path, scl_slope=slope, scl_inter=inter))
    assert np.array_equal(volume.data, expected)
    assert str(volume.data.dtype) == READER.read_header(path).dtype


def test_a_few_values_that_are_no_numbers_are_filled_and_many_are_refused(path):
    data = DATA.astype(np.float32)
    data[0, 0, 0] = np.nan
    data[1, 0, 0] = np.inf
    write_nifti(path, data, AFFINE)
    volume = READER.read(path)
    assert volume.fixes == ("non_finite_filled",)
    assert volume.data[0, 0, 0] == volume.data[1, 0, 0] == np.nanmin(data)
    data[:2] = np.nan
    write_nifti(path, data, AFFINE)
    assert code_of(path) == "non_finite"


def test_a_list_of_files_is_not_a_nifti():
    with pytest.raises(TypeError, match="one file"):
        READER.read([])


def test_an_unreadable_path_is_unreadable(tmp_path):
    folder = tmp_path / "folder.nii"
    folder.mkdir()
    assert code_of(folder) == "unreadable"


def test_each_volume_of_a_time_series_is_read_by_its_number(tmp_path):
    series = np.stack([DATA + 1000 * number for number in range(4)], axis=3)
    for name in ("series.nii", "series.nii.gz"):
        nib.Nifti1Image(series, AFFINE).to_filename(tmp_path / name)
        assert READER.count(tmp_path / name) == 4
        each = list(READER.read_each(tmp_path / name))
        for part in range(4):
            volume = READER.read(tmp_path / name, part)
            assert np.array_equal(volume.data, series[..., part])
            assert np.array_equal(each[part].data, series[..., part])
            assert READER.read_header(tmp_path / name, part).fixes == volume.fixes
        assert volume.fixes == ("frames_split",)
        with pytest.raises(VolumeReadError, match="not number 4"):
            READER.read(tmp_path / name, 4)
    write_nifti(tmp_path / "one.nii", DATA, AFFINE)
    assert READER.read(tmp_path / "one.nii", 0).fixes == ()
