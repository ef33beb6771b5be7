"""Series from real scanners, against the references that come with them and against dcm2niix."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medssl.io.dicom_headers import is_dicom, read_dicom_header
from medssl.io.dicom_series import FoundVolume, RefusedFiles, read_found, sort_into_volumes
from medssl.io.geometry import corner_distance_mm, to_ras
from medssl.types import Volume

pytestmark = pytest.mark.data


def verdicts(folder: Path) -> list[FoundVolume | RefusedFiles]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and is_dicom(path))
    return sort_into_volumes([read_dicom_header(path) for path in files])


def volumes(folder: Path) -> list[Volume]:
    """Return what is read in a folder where nothing may be refused."""
    return [to_ras(read_found(found)) for found in verdicts(folder)]


def references(*paths: Path) -> list[Volume]:
    """Return the volumes of NIfTI files, each time point as one."""
    found = []
    for path in paths:
        image = nib.load(path)
        data = np.asarray(image.dataobj)
        moments = [data] if data.ndim == 3 else np.moveaxis(data, -1, 0)
        found += [to_ras(Volume(moment, image.affine)) for moment in moments]
    return found


def by_dcm2niix(folder: Path, out: Path) -> list[Volume]:
    """Convert a folder with dcm2niix, without its resampled extras."""
    dcm2niix = pytest.importorskip("dcm2niix")
    options = ["-b", "n", "-z", "n", "-f", "%s_%e_%p", "-o", str(out)]
    subprocess.run([dcm2niix.bin, *options, str(folder)], check=True, capture_output=True)
    return references(*(path for path in sorted(out.glob("*.nii")) if "_Eq" not in path.name))


def assert_same_place(volume: Volume, reference: Volume) -> None:
    assert volume.data.shape == reference.data.shape
    shape = reference.data.shape
    assert corner_distance_mm(shape, volume.affine, shape, reference.affine) < 0.1


@pytest.mark.parametrize(
    "name",
    [
        "totalsegmentator/example_ct_dicom",
        "dicom_enhanced/In/Siemens",
        "dicom_seg/segmentations/23x38x3/image",
        "dicom_seg/segmentations/23x38x3/multiframe",
        "dicom_seg/segmentations/24x38x3/image",
        "dicom_seg/segmentations/24x38x3/multiframe",
    ],
)
def test_volumes_are_those_of_dcm2niix(shared_data, tmp_path, name):
    ours, theirs = volumes(shared_data(name)), by_dcm2niix(shared_data(name), tmp_path)
    assert len(ours) == len(theirs)
    for volume, reference in zip(ours, theirs, strict=True):
        assert_same_place(volume, reference)
        assert np.array_equal(volume.data, reference.data)


def test_padding_of_ge_is_air_and_the_rest_as_in_dcm2niix(shared_data, tmp_path):
    """On purpose: dcm2niix keeps the padding of -3024, which no tissue has; here it is air."""
    folder = shared_data("dicom_seg/segmentations/ct-3slice")
    (volume,), (reference,) = volumes(folder), by_dcm2niix(folder, tmp_path)
    assert_same_place(volume, reference)
    padded = reference.data == -3024
    assert 0.1 < padded.mean() < 0.5
    assert np.array_equal(volume.data, np.where(padded, -1024, reference.data))


def test_nine_transfer_syntaxes_are_nine_equal_volumes(shared_data):
    """One series UID for all, but a number of its own for each: nine volumes, as in dcm2niix."""
    root = shared_data("dicom_transfer_syntaxes")
    found = volumes(root / "In")
    expected = references(*(root / "Ref" / f"{number}.nii" for number in range(1, 10)))
    assert len(found) == 9
    for volume, reference in zip(found, expected, strict=True):
        assert_same_place(volume, reference)
        assert np.array_equal(volume.data, reference.data)


def test_siemens_enhanced_objects_are_the_moments_of_the_reference(shared_data):
    root = shared_data("dicom_enhanced")
    (path,) = root.glob("Ref/Siemens*.nii")
    ours, theirs = volumes(root / "In" / "Siemens"), references(path)
    assert len(ours) == len(theirs) == 4
    for volume, reference in zip(ours, theirs, strict=True):
        assert_same_place(volume, reference)
        assert np.array_equal(volume.data, reference.data)


def test_a_philips_enhanced_object_is_magnitude_and_field_map(shared_data):
    """On purpose: dcm2niix takes Philips' private scale for the magnitude. It differs by a factor
    that is the same for all voxels; here the rescale slope of the standard counts.
    """
    root = shared_data("dicom_enhanced")
    theirs = references(*sorted(root.glob("Ref/Philips_WIP_B0*.nii")))
    ours = volumes(root / "In" / "Philips")
    assert len(ours) == len(theirs) == 2
    for volume, reference in zip(ours, theirs, strict=True):
        assert_same_place(volume, reference)
        assert np.corrcoef(volume.data.ravel(), reference.data.ravel())[0, 1] > 0.999999
    assert np.abs(ours[1].data - theirs[1].data).max() < 0.01


def test_a_tilted_uneven_head_is_put_where_it_was_scanned(shared_data, tmp_path):
    """On purpose: dcm2niix leaves the skew out of the plain volume, or makes other distances.

    Each scanned slice is compared where the scanner says that it lies: the volume read there, by
    linear interpolation, must give back the slice, and must not where the slice is moved by 2 mm.
    """
    folder = shared_data("ct_gantry_tilt/In")
    (found,) = verdicts(folder)
    volume, (raw,) = read_found(found), by_dcm2niix(folder, tmp_path)
    assert set(volume.fixes) == {"uneven_resampled", "tilt_resampled"}
    scanned = np.maximum(raw.data[:, ::-1], -1024)[::-1]  # back to columns and rows of the files
    frames = found.stack.frames
    assert scanned.shape == (512, 512, len(frames))
    right, moved = (misfit(volume, scanned, frames, shift) for shift in (0.0, 2.0))
    assert np.median(right) < 6
    assert np.median(right) < 0.1 * np.median(moved)


def misfit(volume: Volume, scanned: np.ndarray, frames, shift_mm: float) -> np.ndarray:
    """Return for each slice how far the volume is from it, in HU, over soft tissue and bone."""
    import scipy.ndimage

    inverse = np.linalg.inv(volume.affine)
    index = np.stack(np.meshgrid(np.arange(60, 450, 6), np.arange(60, 450, 6), indexing="ij"), -1)
    errors = []
    for number, frame in enumerate(frames):
        across, down = np.array(frame.orientation).reshape(2, 3)
        lps = np.array(frame.position) + index @ np.stack(
            [across * frame.spacing[1], down * frame.spacing[0]]
        )
        ras = lps * [-1, -1, 1] + [0, shift_mm, 0]
        at = np.moveaxis(ras @ inverse[:3, :3].T + inverse[:3, 3], -1, 0)
        seen = scipy.ndimage.map_coordinates(volume.data.astype(np.float32), at, order=1)
        errors.append(np.abs(seen - scanned[index[..., 0], index[..., 1], number]).mean())
    return np.array(errors)


def test_objects_that_are_no_images_are_told_from_their_source(shared_data):
    found = verdicts(shared_data("dicom_seg"))
    refused = [verdict for verdict in found if isinstance(verdict, RefusedFiles)]
    codes = Counter(dict.fromkeys(("not_image_object", "derived"), 0))
    for verdict in refused:
        codes[verdict.code] += len(verdict.files)
    assert codes == {"not_image_object": 9, "derived": 1}
    assert len(found) - len(refused) == 5
