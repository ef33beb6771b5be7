"""What every reader promises; a new reader only has to say how a file of its format is made."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from PIL import Image

from medssl.errors import InputError, VolumeReadError
from medssl.io.dicom_series import write_dicom_series
from medssl.io.nifti import write_nifti
from medssl.io.read import READERS, find_reader, read_header, read_volume

SHAPE = (5, 4, 3)
CODES = {
    *("truncated", "corrupt", "not_an_image", "too_large", "empty", "non_finite", "bad_affine"),
    *("qform_sform_conflict", "no_spacing", "no_geometry", "too_few_slices", "not_scalar"),
    *("time_series", "unreadable", "no_content", "ambiguous_stack", "missing_slices"),
    *("duplicate_slices", "mixed_orientation", "codec_missing", "monochrome1", "burned_in"),
    *("localizer", "derived", "not_image_object", "duplicate"),
}


def marker(shape=SHAPE) -> np.ndarray:
    """Return an image of which no two voxels are alike."""
    return np.arange(int(np.prod(shape)), dtype=np.int16).reshape(shape)


def all_orientations() -> list[np.ndarray]:
    """Return the 48 ways to store a volume's axes."""
    found = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            affine = np.eye(4)
            affine[:3, :3] = np.eye(3)[list(order)].T * np.array(signs) * [0.5, 1.25, 2.0]
            affine[:3, 3] = [11.0, -7.5, 3.0]
            found.append(affine)
    return found


def write_itk(path: Path, data: np.ndarray, affine: np.ndarray) -> Path:
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(data.T))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    SimpleITK.WriteImage(image, str(path))
    return path


def make_nifti(folder: Path, data: np.ndarray, affine: np.ndarray) -> Path:
    write_nifti(folder / "scan.nii", data, affine)
    return folder / "scan.nii"


def make_dicom(folder: Path, data: np.ndarray, affine: np.ndarray) -> Path:
    write_dicom_series(folder / "series", data, affine, "ct")
    return folder / "series"


def make_picture(folder: Path, data: np.ndarray, affine: np.ndarray) -> Path:
    Image.fromarray(data.T.astype(np.uint8)).save(folder / "scan.png")
    return folder / "scan.png"


def make_pair(folder: Path, data: np.ndarray, affine: np.ndarray) -> Path:
    nib.save(nib.Nifti1Pair(data, affine), folder / "scan.img")
    return folder / "scan.img"


MAKERS = {
    "nifti": make_nifti,
    "analyze": make_pair,
    "nrrd": lambda folder, data, affine: write_itk(folder / "scan.nrrd", data, affine),
    "mha": lambda folder, data, affine: write_itk(folder / "scan.mha", data, affine),
    "dicom": make_dicom,
    "image2d": make_picture,
}
PLANAR = {"image2d"}
FORMATS = [reader.format for reader in READERS]


def make(name: str, folder: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """Return a sound source of a format, and the values and place that it holds."""
    if name in PLANAR:
        data, affine = marker((6, 5)), np.diag([-1.0, -1.0, 1.0, 1.0])
    else:
        data, affine = marker(), all_orientations()[0]
    return MAKERS[name](folder, data, affine), data, affine


def assert_same_place(volume, data: np.ndarray, affine: np.ndarray) -> None:
    """Compare what lies at each millimetre point, whatever the order of the axes."""
    index = np.argwhere(np.ones(data.shape, bool))
    padded = np.pad(index, ((0, 0), (0, 3 - data.ndim)))
    points = padded @ affine[:3, :3].T + affine[:3, 3]
    inverse = np.linalg.inv(volume.affine)
    found = points @ inverse[:3, :3].T + inverse[:3, 3]
    assert np.abs(found - np.rint(found)).max() < 1e-4
    assert volume.data.size == data.size
    where = np.rint(found).astype(int)[:, : data.ndim]
    assert np.array_equal(volume.data[tuple(where.T)], data[tuple(index.T)])


@pytest.mark.parametrize("name", sorted(set(FORMATS) - PLANAR))
def test_every_voxel_lies_at_its_millimetres_in_all_48_orientations(name, tmp_path):
    for number, affine in enumerate(all_orientations()):
        folder = tmp_path / str(number)
        folder.mkdir()
        volume = read_volume(MAKERS[name](folder, marker(), affine))
        assert_same_place(volume, marker(), affine)


@pytest.mark.parametrize("name", FORMATS)
def test_the_reader_is_found_and_reads_what_was_written(name, tmp_path):
    source, data, affine = make(name, tmp_path)
    assert find_reader(source).format == name
    assert_same_place(read_volume(source), data, affine)


@pytest.mark.parametrize("name", FORMATS)
def test_the_header_tells_what_the_volume_is(name, tmp_path):
    source, _, _ = make(name, tmp_path)
    header, volume = read_header(source), read_volume(source)
    assert header.format == name
    assert header.shape == volume.data.shape
    assert header.dtype == str(volume.data.dtype)
    assert header.modality == volume.modality
    assert np.array_equal(header.affine, volume.affine)
    assert set(header.fixes) <= set(volume.fixes)


@pytest.mark.parametrize("name", FORMATS)
def test_the_header_is_read_without_the_voxels_which_are_missed_when_they_are_read(name, tmp_path):
    source, _, _ = make(name, tmp_path)
    file = next(iter(sorted(source.iterdir()))) if source.is_dir() else source
    file.write_bytes(file.read_bytes()[:-14])
    read_header(source)
    with pytest.raises(VolumeReadError) as caught:
        read_volume(source)
    assert caught.value.code in ("truncated", "corrupt")


@pytest.mark.parametrize("name", FORMATS)
def test_a_broken_file_is_named_with_a_reason_and_without_its_folder(name, tmp_path):
    folder = tmp_path / "Doe_John_19610203"
    folder.mkdir()
    source, _, _ = make(name, folder)
    file = next(iter(sorted(source.iterdir()))) if source.is_dir() else source
    file.write_bytes(b"<html>not found</html>" * 20)
    with pytest.raises(InputError) as caught:
        read_volume(file)
    assert isinstance(caught.value, OSError)
    assert caught.value.code in CODES
    assert file.name in str(caught.value)
    assert "Doe" not in str(caught.value)


@pytest.mark.parametrize("name", FORMATS)
def test_reading_changes_nothing_on_disk(name, tmp_path):
    source, _, _ = make(name, tmp_path)
    before = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in tmp_path.rglob("*")}
    read_volume(source)
    assert before == {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in tmp_path.rglob("*")}


def test_a_source_that_no_reader_knows_is_refused(tmp_path):
    for path in (tmp_path / "notes.txt", tmp_path / "absent.xyz", tmp_path):
        if path.suffix == ".txt":
            path.write_text("x" * 200)
        with pytest.raises(VolumeReadError) as caught:
            read_volume(path)
        assert caught.value.code in ("not_an_image", "unreadable")
