"""Volumes written as plain DICOM series: for synthetic patients, and to hand a volume back.

One file a slice, uncompressed. Identifiers come from the content, so that the same volume always
gives the same files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    SecondaryCaptureImageStorage,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)
from pydicom.valuerep import format_number_as_ds

from medssl.errors import GeometryError
from medssl.io.atomic import atomic_path
from medssl.types import Modality

__all__ = ["write_dicom_series"]

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_CLASSES: Mapping[Modality, tuple[str, UID]] = {
    "ct": ("CT", CTImageStorage),
    "mr": ("MR", MRImageStorage),
    "pt": ("PT", PositronEmissionTomographyImageStorage),
    "us": ("US", UltrasoundMultiFrameImageStorage),
    "xr": ("DX", DigitalXRayImageStorageForPresentation),
    "unknown": ("OT", SecondaryCaptureImageStorage),
}


@dataclass(frozen=True)
class _Stored:
    """Values as DICOM keeps them: ``value = stored * slope + intercept``."""

    pixels: npt.NDArray[np.uint16]
    slope: float
    intercept: float


def write_dicom_series(
    folder: Path,
    data: npt.NDArray[Any],
    affine: npt.NDArray[np.float64],
    modality: Modality,
    *,
    patient_id: str = "synthetic",
    study: str = "1",
    series: str = "1",
    description: str = "",
    attributes: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write a volume as one DICOM file a slice, or a radiograph as one file.

    Whole numbers are kept exactly where they span at most 65535; CT is rounded to whole Hounsfield
    units; other real numbers are kept to a 65535th of their range.

    Args:
        folder: Made if it is missing; files are called ``slice_0001.dcm`` and so on.
        data: ``(X, Y, Z)``, slices along Z; or ``(X, Y)`` for a planar image.
        affine: ``(4, 4)``, voxel index to RAS+ millimetres. X and Y are at right angles; Z may
            lean, as with a tilted gantry.
        modality: What the files say made them.
        patient_id: The PatientID; one patient of one ``study`` and ``series`` has one series UID.
        study: Tells studies of one patient apart.
        series: Tells series of one study apart.
        description: The SeriesDescription.
        attributes: Further DICOM keywords and values, the same in every file.

    Returns:
        The files, in the order of Z.

    Raises:
        GeometryError: If X and Y are not at right angles.
        OutputError: If a file can't be written.
    """
    _check_right_angles(affine)
    folder.mkdir(parents=True, exist_ok=True)
    if data.ndim == 2:
        data, affine = _upright(data, affine)
    stored = _store(data, modality)
    common = _common_tags(modality, patient_id, study, series, description, stored)
    for keyword, value in (attributes or {}).items():
        setattr(common, keyword, value)
    slices = np.atleast_3d(stored.pixels)
    paths = []
    for index in range(slices.shape[2]):
        path = folder / f"slice_{index + 1:04d}.dcm"
        dataset = _slice(common, slices[:, :, index], affine, index, planar=data.ndim == 2)
        with atomic_path(path, flush=False) as temporary:
            dataset.save_as(temporary, enforce_file_format=True)
        paths.append(path)
    return paths


def _check_right_angles(affine: npt.NDArray[np.float64]) -> None:
    x, y = affine[:3, 0], affine[:3, 1]
    if abs(x @ y) > 1e-4 * np.linalg.norm(x) * np.linalg.norm(y):
        raise GeometryError("DICOM slices need X and Y at right angles; resample the volume first")


def _upright(
    data: npt.NDArray[Any], affine: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """Turn a planar image so that columns run to the left and rows down, as a radiograph lies."""
    flips = tuple(axis for axis in (0, 1) if affine[axis, axis] > 0)
    turned = affine.copy()
    for axis in flips:
        turned[:3, 3] += turned[:3, axis] * (data.shape[axis] - 1)
        turned[:3, axis] *= -1
    return np.flip(data, flips), turned


def _store(data: npt.NDArray[Any], modality: Modality) -> _Stored:
    values = np.rint(data) if modality == "ct" else np.asarray(data)
    low, high = float(values.min()), float(values.max())
    whole = np.issubdtype(values.dtype, np.integer) or bool(np.all(values == np.rint(values)))
    slope = 1.0 if whole and high - low <= 65535 else max((high - low) / 65535, 1e-12)
    pixels = np.rint((values.astype(np.float64) - low) / slope).astype(np.uint16)
    return _Stored(pixels, slope, low)


def _uid(*parts: str) -> UID:
    return generate_uid(entropy_srcs=list(parts))


def _common_tags(
    modality: Modality, patient_id: str, study: str, series: str, description: str, stored: _Stored
) -> Dataset:
    dataset = Dataset()
    dataset.Modality, dataset.SOPClassUID = _CLASSES[modality]
    dataset.PatientID = patient_id
    dataset.PatientName = patient_id
    dataset.PatientBirthDate = ""
    dataset.PatientSex = "O"
    dataset.StudyInstanceUID = _uid(patient_id, study)
    dataset.SeriesInstanceUID = _uid(patient_id, study, series)
    dataset.FrameOfReferenceUID = _uid(patient_id, study, "frame")
    dataset.StudyDate = dataset.StudyTime = dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = ""
    dataset.StudyID = "1"
    dataset.SeriesNumber = 1
    dataset.SeriesDescription = description
    dataset.Manufacturer = "medssl"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 0
    dataset.RescaleSlope = format_number_as_ds(stored.slope)
    dataset.RescaleIntercept = format_number_as_ds(stored.intercept)
    dataset.RescaleType = "HU" if modality == "ct" else "US"
    return dataset


def _slice(
    common: Dataset,
    pixels: npt.NDArray[np.uint16],
    affine: npt.NDArray[np.float64],
    index: int,
    *,
    planar: bool,
) -> FileDataset:
    content = hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()
    scale = f"{common.RescaleSlope} {common.RescaleIntercept}"
    instance = _uid(common.SeriesInstanceUID, str(index), scale, content)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = common.SOPClassUID
    meta.MediaStorageSOPInstanceUID = instance
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", common, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPInstanceUID = instance
    dataset.InstanceNumber = index + 1
    dataset.Rows, dataset.Columns = pixels.shape[1], pixels.shape[0]
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    dataset.PixelSpacing = _decimals(lengths[[1, 0]])
    if planar:
        dataset.ImagerPixelSpacing = dataset.PixelSpacing
    else:
        place = _LPS @ affine
        directions = (place[:3, :2] / lengths[:2]).T
        dataset.ImageOrientationPatient = _decimals(directions.ravel())
        dataset.ImagePositionPatient = _decimals(place[:3, 3] + index * place[:3, 2])
        dataset.SliceThickness = format_number_as_ds(float(lengths[2]))
    dataset.PixelData = np.ascontiguousarray(pixels.T).tobytes()
    return dataset


def _decimals(values: npt.NDArray[np.float64]) -> list[str]:
    """Return numbers as DICOM decimal strings, which are at most 16 letters long."""
    return [format_number_as_ds(float(value) + 0.0) for value in values]
