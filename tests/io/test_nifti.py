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


def test_things_that_are_no_image_are_named_so(tmp_path):
    for name, content in (
        ("a.nii.gz", b""),
        ("b.nii", b"<html>404</html>"),
        ("c.nii", b"\0" * 400),
    ):
        (tmp_path / name).write_bytes(content)
        assert code_of(tmp_path / name) == "not_an_image"


def test_a_compressed_file_without_the_suffix_is_read(tmp_path):
    write_nifti(tmp_path / "a.nii.gz", DATA, AFFINE)
    plain = (tmp_path / "a.nii.gz").rename(tmp_path / "a.nii")
    assert np.array_equal(READER.read(plain).data, DATA)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_both_byte_orders_and_versions_are_read(path, order, kind):
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.int16)
    kind(DATA, AFFINE, header).to_filename(path)
    volume = READER.read(path)
    assert np.array_equal(volume.data, DATA)
    assert volume.data.dtype.isnative


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"dim": [3, 0, 6, 7, 1, 1, 1, 1]}, "empty"),
        ({"dim": [3, -5, 6, 7, 1, 1, 1, 1]}, "empty"),
        ({"dim": [9, 5, 6, 7, 1, 1, 1, 1]}, "not_an_image"),
        ({"dim": [3, 32000, 32000, 32000, 1, 1, 1, 1]}, "too_large"),
        ({"dim": [3, 5, 6, 8, 1, 1, 1, 1]}, "truncated"),
        ({"dim": [4, 5, 6, 1, 7, 1, 1, 1]}, "time_series"),
        ({"dim": [5, 5, 6, 1, 1, 7, 1, 1]}, "not_scalar"),
        ({"pixdim": [1, 0, 1.5, 2, 1, 1, 1, 1]}, "no_spacing"),
        ({"pixdim": [1, np.nan, 1.5, 2, 1, 1, 1, 1]}, "no_spacing"),
        ({"srow_x": [0, 0, 0, 0]}, "bad_affine"),
        ({"srow_x": [np.nan, 0, 0, 0]}, "bad_affine"),
        ({"srow_x": [1, 1, 0, 0]}, "bad_affine"),
        ({"qform_code": 1, "qoffset_x": 5.0}, "qform_sform_conflict"),
        ({"xyzt_units": 1}, "no_spacing"),
        ({"datatype": 128, "bitpix": 24}, "not_scalar"),
        ({"datatype": 32, "bitpix": 64}, "not_scalar"),
        ({"datatype": 4242}, "corrupt"),
    ],
)
def test_headers_that_contradict_themselves_earn_their_code(path, fields, code):
    assert code_of(write_raw(path, **fields)) == code


def test_a_small_disagreement_of_qform_and_sform_is_rounding(path):
    write_nifti(path, DATA, AFFINE)
    moved = write_raw(path, qform_code=1, quatern_d=0.0, qoffset_x=0.3)
    assert READER.read(moved).affine[0, 3] == 0.0


def test_units_of_metres_and_microns_become_millimetres(path):
    for unit, factor in ((1, 1e-3), (3, 1e3)):
        fields = {
            "xyzt_units": unit,
            "srow_x": [1.0 * factor, 0, 0, 0],
            "srow_y": [0, 1.5 * factor, 0, 0],
            "srow_z": [0, 0, 2.0 * factor, 3 * factor],
        }
        volume = READER.read(write_raw(path, **fields))
        assert volume.fixes == ("units_converted",)
        assert volume.spacing_mm == pytest.approx((1.0, 1.5, 2.0))
        assert volume.affine[2, 3] == pytest.approx(3.0)


def test_no_orientation_at_all_is_said(path):
    volume = READER.read(write_raw(path, sform_code=0, qform_code=0))
    assert volume.fixes == ("orientation_unknown",)
    assert volume.spacing_mm == pytest.approx((1.0, 1.5, 2.0))


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


def test_a_sizeless_fourth_axis_says_nothing(path):
    write_raw(path, DATA[..., None])
    assert READER.read(path).data.shape == (5, 6, 7)


def test_a_stream_that_goes_on_for_ever_stops(tmp_path):
    write_nifti(tmp_path / "a.nii", DATA, AFFINE)
    bomb = tmp_path / "a.nii.gz"
    bomb.write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes() + b"\0" * 2**22, 1))
    assert code_of(bomb) == "too_large"


def test_a_list_of_files_is_not_a_nifti():
    with pytest.raises(TypeError, match="one file"):
        READER.read([])


def test_an_unreadable_path_is_unreadable(tmp_path):
    folder = tmp_path / "folder.nii"
    folder.mkdir()
    assert code_of(folder) == "unreadable"
