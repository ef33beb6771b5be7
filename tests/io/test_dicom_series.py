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


def test_two_series_in_one_folder_are_two_volumes(tmp_path):
    fake.write_ct(tmp_path / "a", series="1")
    for path in fake.write_ct(tmp_path / "b", series="2", data=fake.body(seed=1)):
        shutil.copy(path, tmp_path / "a" / f"b_{path.name}")
    found = verdicts(sorted((tmp_path / "a").iterdir()))
    assert [type(verdict) for verdict in found] == [FoundVolume, FoundVolume]
    assert sorted(len(verdict.files) for verdict in found) == [8, 8]
    assert code_of(sorted((tmp_path / "a").iterdir())) == "ambiguous_stack"


def test_derived_but_primary_images_are_admitted_and_loss_is_said(tmp_path):
    files = fake.write_ct(tmp_path, attributes={"LossyImageCompression": "01"})
    fake.edit_all(
        files, lambda dataset, _: setattr(dataset, "ImageType", ["DERIVED", "PRIMARY", "AXIAL"])
    )
    assert READER.read(tmp_path).fixes == ("lossy",)


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
