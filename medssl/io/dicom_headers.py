"""One DICOM file's header, pixels unread: what it is, and the frames that it holds.

A classic file holds one frame, an enhanced file many, a Siemens mosaic many in one picture. Below
this module nobody cares which: a volume is a stack of frames.
"""

from __future__ import annotations

import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.errors import BytesLengthException, InvalidDicomError

from medssl.io.dicom_frames import Frame, frames_of
from medssl.io.soundness import refuse, verdicts
from medssl.types import Modality

__all__ = [
    "DAMAGE",
    "DicomHeader",
    "is_dicom",
    "leniently",
    "modality_of",
    "read_dicom_header",
    "reason_to_exclude",
]

_TAGS = [
    *("SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "Modality"),
    *("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "AcquisitionNumber", "InstanceNumber"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "ImagerPixelSpacing"),
    *("SliceThickness", "SpacingBetweenSlices", "Rows", "Columns", "NumberOfFrames", "BitsStored"),
    *("SamplesPerPixel", "PhotometricInterpretation", "BurnedInAnnotation"),
    *("LossyImageCompression", "PixelRepresentation", "RescaleSlope", "RescaleIntercept"),
    *("EchoTime", "EchoNumbers", "DiffusionBValue", "TemporalPositionIdentifier", "TriggerTime"),
    *("AcquisitionTime", "ContentTime", "PatientOrientation", "InversionTime", "StackID"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("PixelPaddingValue", "BitsAllocated", "Manufacturer", "PresentationIntentType"),
]
_SIEMENS_TAGS = [0x00190010, 0x0019100A, 0x00290010, 0x00291010]
_MODALITIES: dict[str, Modality] = {
    "CT": "ct",
    "MR": "mr",
    "PT": "pt",
    "US": "us",
    **dict.fromkeys(("CR", "DX", "MG", "RG", "RF", "PX", "IO"), "xr"),
}
_IMAGE_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.1",  # CR, DX, mammography
    "1.2.840.10008.5.1.4.1.1.2",  # CT
    "1.2.840.10008.5.1.4.1.1.4",  # MR
    "1.2.840.10008.5.1.4.1.1.6.1",  # ultrasound
    "1.2.840.10008.5.1.4.1.1.3.1",
    "1.2.840.10008.5.1.4.1.1.12",  # fluoroscopy, angiography
    "1.2.840.10008.5.1.4.1.1.13",  # 3D X-ray, tomosynthesis
    "1.2.840.10008.5.1.4.1.1.20",  # nuclear medicine
    "1.2.840.10008.5.1.4.1.1.128",  # PET
    "1.2.840.10008.5.1.4.1.1.130",
)
_NOT_IMAGES = ("1.2.840.10008.5.1.4.1.1.4.2", "1.2.840.10008.5.1.4.1.1.128.2")  # raw spectra
_PROJECTIONS = {"MPR", "MIP", "MINIP", "PROJECTION IMAGE", "REFORMATTED", "VRT", "CPR", "CSA MPR"}
_LOSSY_SYNTAXES = {
    *(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 81, 91, 93, 203)),
}
DAMAGE = (
    *(InvalidDicomError, BytesLengthException, ValueError, TypeError, AttributeError, LookupError),
    *(NotImplementedError, RecursionError, OverflowError, struct.error, zlib.error),
)
"""What pydicom raises over bytes that are not what they should be."""


@dataclass(frozen=True)
class DicomHeader:
    """What one file says of itself.

    Attributes:
        path: The file.
        sop_class: UID of the kind of object.
        instance: UID of the object.
        series: UID of the series.
        study: UID of the study.
        patient: The PatientID, never shown, only hashed.
        modality: The Modality, as DICOM spells it.
        image_type: Words of ImageType.
        syntax: UID of the transfer syntax.
        photometric: How values become grey, or colours.
        samples: Numbers a pixel.
        lossy: Whether the pixels were ever compressed with loss.
        burned_in: Whether letters are drawn into the pixels.
        frames: The frames, in the order of the pixel data.
    """

    path: Path
    sop_class: str
    instance: str
    series: str
    study: str
    patient: str
    modality: str
    image_type: tuple[str, ...]
    syntax: str
    photometric: str
    samples: int
    lossy: bool
    burned_in: bool
    frames: tuple[Frame, ...]


def is_dicom(path: Path) -> bool:
    """Say whether a file starts as DICOM does, with or without the 128 bytes of preamble."""
    with path.open("rb") as file:
        start = file.read(132)
    if start[128:132] == b"DICM":
        return True
    # Old files begin at once with group 2 or 8; the value representation tells them from noise.
    return start[:2] in (b"\x02\x00", b"\x08\x00") and start[3:4] == b"\0" and len(start) == 132


@contextmanager
def leniently() -> Iterator[None]:
    """Let pydicom read values that break a rule of form, and quote them in no warning or log."""
    level = pydicom.config.logger.level
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        pydicom.config.logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            pydicom.config.logger.setLevel(level)


def read_dicom_header(path: Path) -> DicomHeader:
    """Read what matters of one file's header.

    Raises:
        VolumeReadError: If the file is no DICOM object, or its header is damaged.
    """
    with verdicts(path), leniently():
        if not path.stat().st_size:
            raise refuse(path, "not_an_image", "the file is empty")
        if not is_dicom(path):
            raise refuse(path, "not_an_image", "it does not start like DICOM")
        try:
            return _header(path)
        except DAMAGE as error:
            raise refuse(path, "corrupt", "its DICOM header is damaged") from error


def modality_of(header: DicomHeader) -> Modality:
    """Return the modality as medssl spells it."""
    return _MODALITIES.get(header.modality, "unknown")


def reason_to_exclude(header: DicomHeader) -> tuple[str, str] | None:
    """Return reason code and sentence where the object is no image of a patient's anatomy."""
    words = {word.upper() for word in header.image_type}
    if not _is_image(header):
        return "not_image_object", f"a DICOM object of modality {header.modality or 'unnamed'}"
    if words & {"LOCALIZER", "SCOUT"}:
        return "localizer", "a localizer"
    if words & _PROJECTIONS or {"DERIVED", "SECONDARY"} <= words:
        return "derived", "computed from other images: " + " ".join(header.image_type)
    if header.burned_in:
        return "burned_in", "letters are drawn into its pixels"
    if header.samples != 1 or not header.photometric.startswith("MONOCHROME"):
        return "not_scalar", f"its pixels are colours ({header.photometric})"
    if header.photometric == "MONOCHROME1" and modality_of(header) != "xr":
        return "monochrome1", "its values are inverted, which CT and MR never are on purpose"
    return None


def _is_image(header: DicomHeader) -> bool:
    known = not header.sop_class or any(
        header.sop_class == root or header.sop_class.startswith(f"{root}.")
        for root in _IMAGE_CLASSES
    )
    return known and header.sop_class not in _NOT_IMAGES and bool(header.frames)


def _header(path: Path) -> DicomHeader:
    tags: Any = [*_TAGS, *_SIEMENS_TAGS]  # pydicom takes a mixture, its types do not
    dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=tags)
    meta = dataset.file_meta
    if "SOPClassUID" not in dataset and "Rows" not in dataset and not meta:
        raise refuse(path, "not_an_image", "it holds no DICOM object")
    syntax = str(meta.get("TransferSyntaxUID", ""))
    lossy = str(dataset.get("LossyImageCompression", "")) == "01" or syntax in _LOSSY_SYNTAXES
    return DicomHeader(
        path=path,
        sop_class=str(dataset.get("SOPClassUID", meta.get("MediaStorageSOPClassUID", ""))),
        instance=str(dataset.get("SOPInstanceUID", "")),
        series=str(dataset.get("SeriesInstanceUID", "")),
        study=str(dataset.get("StudyInstanceUID", "")),
        patient=str(dataset.get("PatientID", "") or ""),
        modality=str(dataset.get("Modality", "") or ""),
        image_type=_words(dataset.get("ImageType")),
        syntax=syntax,
        photometric=str(dataset.get("PhotometricInterpretation", "")),
        samples=int(dataset.get("SamplesPerPixel", 1) or 1),
        lossy=lossy,
        burned_in=str(dataset.get("BurnedInAnnotation", "")).upper() == "YES",
        frames=frames_of(path, dataset),
    )


def _words(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(str(word) for word in value)
