from __future__ import annotations

import shutil

import fake_dicom as fake
import numpy as np
import pydicom
import pytest

from medssl.errors import VolumeReadError
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


def test_a_folder_without_dicom_is_no_image(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    assert not READER.can_read(tmp_path)
    with pytest.raises(VolumeReadError) as caught:
        READER.read(tmp_path)
    assert caught.value.code == "not_an_image"
