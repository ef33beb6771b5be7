from __future__ import annotations

import contextlib
import shutil

import fake_dicom as fake
import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless

from medssl.errors import GeometryError, VolumeReadError
from medssl.io.dicom_headers import read_dicom_header
from medssl.io.dicom_series import (
    DicomSeriesReader,
    FoundVolume,
    RefusedFiles,
    read_found,
    sort_into_volumes,
    write_dicom_series,
)

READER = DicomSeriesReader()
AFFINE = np.diag([0.9, 0.7, 2.5, 1.0])


def verdicts(paths) -> list[FoundVolume | RefusedFiles]:
    return sort_into_volumes([read_dicom_header(path) for path in paths])


def code_of(paths) -> str:
    with pytest.raises(VolumeReadError) as caught:
        READER.read(list(paths))
    return caught.value.code


def values_at(volume, points_mm) -> np.ndarray:
    """Return the values of the voxels whose centres are the points."""
    inverse = np.linalg.inv(volume.affine)
    index = np.rint(points_mm @ inverse[:3, :3].T + inverse[:3, 3]).astype(int)
    return volume.data[tuple(index.T)]


@pytest.mark.parametrize("affine", [AFFINE, fake.oblique()])
def test_a_shuffled_series_comes_out_in_place(tmp_path, affine):
    data = fake.body()
    files = fake.write_ct(tmp_path, data=data, affine=affine)
    shuffled = [files[i] for i in np.random.default_rng(0).permutation(len(files))]
    volume = READER.read(shuffled)
    index = np.argwhere(np.ones(data.shape, bool))
    points = index @ affine[:3, :3].T + affine[:3, 3]
    assert np.array_equal(values_at(volume, points), data[tuple(index.T)])
    assert volume.modality == "ct"
    assert volume.fixes == ()


def test_slices_are_ordered_by_place_and_not_by_number(tmp_path):
    files = fake.write_ct(tmp_path)
    reference = READER.read(tmp_path)
    fake.edit_all(files, lambda dataset, k: setattr(dataset, "InstanceNumber", (k * 5) % 8 + 1))
    assert np.array_equal(READER.read(tmp_path).data, reference.data)


def test_two_series_in_one_folder_are_two_volumes(tmp_path):
    fake.write_ct(tmp_path / "a", series="1")
    for path in fake.write_ct(tmp_path / "b", series="2", data=fake.body(seed=1)):
        shutil.copy(path, tmp_path / "a" / f"b_{path.name}")
    found = verdicts(sorted((tmp_path / "a").iterdir()))
    assert [type(verdict) for verdict in found] == [FoundVolume, FoundVolume]
    assert sorted(len(verdict.files) for verdict in found) == [8, 8]
    assert code_of(sorted((tmp_path / "a").iterdir())) == "ambiguous_stack"


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


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ({"ImagePositionPatient": None}, "no_geometry"),
        ({"ImageOrientationPatient": None}, "no_geometry"),
        ({"PixelSpacing": None}, "no_spacing"),
        ({"PixelSpacing": [0, 0], "ImagerPixelSpacing": [1, 1]}, "no_spacing"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, "derived"),
        ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "MIP"]}, "derived"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "Modality": "OT"}, "not_image_object"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4", "Modality": "SEG"}, "not_image_object"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.33"}, "not_image_object"),
        ({"Rows": None}, "not_image_object"),
        ({"BurnedInAnnotation": "YES"}, "burned_in"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "monochrome1"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "not_scalar"),
    ],
)
def test_what_is_no_volume_of_anatomy_earns_its_code(tmp_path, tags, code):
    files = fake.write_ct(tmp_path)
    fake.edit_all(files, lambda dataset, _: fake.put(**tags)(dataset))
    found = verdicts(files)
    assert [verdict.code for verdict in found] == [code]
    assert len(found[0].files) == 8


def test_derived_but_primary_images_are_admitted_and_loss_is_said(tmp_path):
    files = fake.write_ct(tmp_path, attributes={"LossyImageCompression": "01"})
    fake.edit_all(
        files, lambda dataset, _: setattr(dataset, "ImageType", ["DERIVED", "PRIMARY", "AXIAL"])
    )
    assert READER.read(tmp_path).fixes == ("lossy",)


def test_an_unknown_codec_is_named_before_any_pixel_is_read(tmp_path):
    files = fake.write_ct(tmp_path)
    for path in files:
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.106"
        dataset.PixelData = pydicom.encaps.encapsulate([b"\0\0"])
        dataset.save_as(path)
    (verdict,) = verdicts(files)
    assert verdict.code == "codec_missing"
    assert "pip install" in verdict.detail


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


def test_a_copied_series_stays_two_volumes_and_a_scattered_one_is_one(tmp_path):
    files = fake.write_ct(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert len(verdicts([*files, *sorted((tmp_path / "b").iterdir())])) == 2
    (tmp_path / "c").mkdir()
    scattered = [*files[:4], *(path.rename(tmp_path / "c" / path.name) for path in files[4:])]
    (found,) = verdicts(scattered)
    assert read_found(found).data.shape == (7, 6, 8)


def test_a_radiograph_is_planar_whatever_its_photometry(tmp_path):
    data = fake.body((9, 7, 1))[:, :, 0]
    (path,) = write_dicom_series(tmp_path, data, np.diag([-0.2, -0.3, 1, 1.0]), "xr")
    volume = READER.read(path)
    assert np.array_equal(volume.data, data)
    assert volume.modality == "xr"
    assert volume.spacing_mm == pytest.approx((0.2, 0.3))
    assert "orientation_unknown" in volume.fixes
    fake.edit(path, fake.put(PhotometricInterpretation="MONOCHROME1"))
    inverted = READER.read(path).data
    assert np.array_equal(np.argsort(inverted.ravel()), np.argsort(-data.ravel()))
    fake.edit(path, fake.put(PixelSpacing=None))
    assert READER.read(path).spacing_mm == pytest.approx((0.2, 0.3))
    fake.edit(path, fake.put(ImagerPixelSpacing=None))
    assert code_of([path]) == "no_spacing"


def test_the_writer_is_exact_where_it_can_be(tmp_path):
    whole = np.random.default_rng(0).integers(-30000, 30000, (5, 4, 3)).astype(np.int32)
    write_dicom_series(tmp_path / "a", whole, AFFINE, "mr")
    assert np.array_equal(READER.read(tmp_path / "a").data, whole)
    real = np.random.default_rng(0).normal(size=(5, 4, 3))
    write_dicom_series(tmp_path / "b", real, AFFINE, "mr")
    assert np.abs(READER.read(tmp_path / "b").data - real).max() <= np.ptp(real) / 65535
    sheared = AFFINE + 0.3 * (np.arange(16).reshape(4, 4) == 1)
    with pytest.raises(GeometryError, match="right angles"):
        write_dicom_series(tmp_path / "c", whole, sheared, "mr")


def test_the_writer_makes_the_same_files_for_the_same_volume(tmp_path):
    first = fake.write_ct(tmp_path / "a")
    second = fake.write_ct(tmp_path / "b")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_a_folder_without_dicom_is_no_image(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    assert not READER.can_read(tmp_path)
    with pytest.raises(VolumeReadError) as caught:
        READER.read(tmp_path)
    assert caught.value.code == "not_an_image"


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
def test_an_enhanced_object_of_two_stacks_is_two_volumes(shared_data):
    (path,) = (shared_data("dicom_enhanced") / "In" / "Philips").iterdir()
    found = verdicts([path])
    assert [verdict.part for verdict in found] == [0, 1]
    for verdict in found:
        volume = READER.read_part(verdict.files, verdict.part)
        assert volume.data.shape == (64, 64, 32)
        assert volume.fixes == ("frames_split",)
    assert code_of([path]) == "ambiguous_stack"


@pytest.mark.data
def test_a_jpeg_2000_series_is_read(shared_data):
    header = READER.read_header(shared_data("totalsegmentator/example_ct_dicom"))
    assert header.shape == (512, 512, 20)
    assert np.linalg.norm(header.affine[:3, 2]) == pytest.approx(2.0)
