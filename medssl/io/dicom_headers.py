"""One DICOM file's header, pixels unread: what it is, and the frames that it holds.

A classic file holds one frame, an enhanced file many, a Siemens mosaic many in one picture. Below
this module nobody cares which: a volume is a stack of frames.
"""

from __future__ import annotations

import logging
import re
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

from medssl.errors import VolumeReadError
from medssl.io.dicom_classes import is_picture_class
from medssl.io.dicom_format import PixelFormat, pixel_format_of
from medssl.io.dicom_frames import Frame, frames_of
from medssl.io.dicom_mosaic import is_mosaic, mosaic_tiles
from medssl.io.dicom_tags import TAGS
from medssl.io.dicom_values import key, text, words
from medssl.io.dicom_walk import (
    NOT_LOOKED,
    PixelPlace,
    UnusualEncodingError,
    WalkedHeader,
    starts_like_dicom,
    walk_header,
)
from medssl.io.soundness import refuse, verdicts

__all__ = ["DAMAGE", "DicomHeader", "is_dicom", "leniently", "read_dicom_header"]

_LOSSY_SYNTAXES = {
    *(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 81, 91, 93, 203)),
}
_LONGEST_MAKER = 64
_UID = re.compile(r"[0-9.]{1,64}")
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
        series_number: Number of the series.
        study: UID of the study.
        patient: The PatientID, never shown, only hashed.
        modality: The Modality, as DICOM spells it.
        image_type: Words of ImageType.
        manufacturer: Who made the machine.
        photometric: How values become grey, or colours.
        samples: Numbers a pixel.
        lossy: Whether the pixels were ever compressed with loss.
        burned_in: Whether letters are drawn into the pixels.
        pixels: How they are stored.
        frames: The frames, in the order of the pixel data.
    """

    path: Path
    sop_class: str
    instance: str
    series: str
    series_number: str
    study: str
    patient: str
    modality: str
    image_type: tuple[str, ...]
    manufacturer: str
    photometric: str
    samples: int
    lossy: bool
    burned_in: bool
    pixels: PixelFormat
    frames: tuple[Frame, ...]

    def __post_init__(self) -> None:
        """Take the format back from a journal, where it is a plain list of values."""
        object.__setattr__(self, "pixels", PixelFormat(*self.pixels))

    @property
    def syntax(self) -> str:
        """UID of the transfer syntax; empty where the file does not say."""
        return self.pixels.syntax


def is_dicom(path: Path) -> bool:
    """Say whether a file starts as DICOM does, with or without the 128 bytes of preamble."""
    with path.open("rb") as file:
        return starts_like_dicom(file.read(132))


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
    with verdicts(path):
        try:
            return _header(path)
        except VolumeReadError:
            raise
        except DAMAGE as error:
            raise refuse(path, "corrupt", "its DICOM header is damaged") from error


def _header(path: Path) -> DicomHeader:
    try:
        walked = walk_header(path)
    except (UnusualEncodingError, struct.error, IndexError):
        with leniently():
            return _header_by_pydicom(path)
    return _described(path, walked)


class _Dataset:
    """A header as pydicom reads it, asked like the one that is walked through."""

    def __init__(self, dataset: pydicom.Dataset) -> None:
        self._dataset = dataset

    def get(self, name: str) -> Any:
        tag, _ = TAGS[name]
        if tag not in self._dataset:
            return None
        value = self._dataset[tag].value
        if isinstance(value, pydicom.Sequence):
            return [_Dataset(item) for item in value]
        return None if value == "" else value


def _header_by_pydicom(path: Path) -> DicomHeader:
    tags: Any = [tag for tag, _ in TAGS.values()]
    dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=tags)
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None and len(dataset) == 0:
        raise refuse(path, "not_an_image", "it holds no DICOM object")
    walked = WalkedHeader(
        elements=_Dataset(dataset),
        pixels=PixelPlace(NOT_LOOKED),
        syntax=None if syntax is None else str(syntax),
        media_class=str(dataset.file_meta.get("MediaStorageSOPClassUID", "")),
    )
    return _described(path, walked)


def _described(path: Path, walked: WalkedHeader) -> DicomHeader:
    elements, syntax, place = walked.elements, walked.syntax, walked.pixels
    if syntax and not _UID.fullmatch(syntax):
        raise ValueError("a transfer syntax that is no UID")
    sop_class = text(elements.get("SOPClassUID")) or walked.media_class
    if syntax is None and not sop_class and elements.get("Rows") is None:
        raise refuse(path, "not_an_image", "it holds no DICOM object")
    frames: tuple[Frame, ...] = ()
    pixels = PixelFormat(syntax or "", place.offset)
    if is_picture_class(sop_class):
        pixels = pixel_format_of(elements, syntax or "", place)
        frames = frames_of(path, elements, pixels)
    if is_mosaic(frames):
        frames = mosaic_tiles(frames[0], elements)
    lossy = elements.get("LossyImageCompression") == "01" or syntax in _LOSSY_SYNTAXES
    return DicomHeader(
        path=path,
        sop_class=sop_class,
        instance=text(elements.get("SOPInstanceUID")),
        series=text(elements.get("SeriesInstanceUID")),
        series_number=key(elements.get("SeriesNumber")),
        study=text(elements.get("StudyInstanceUID")),
        patient=text(elements.get("PatientID")),
        modality=text(elements.get("Modality")),
        image_type=words(elements.get("ImageType")),
        manufacturer=text(elements.get("Manufacturer"))[:_LONGEST_MAKER],
        photometric=text(elements.get("PhotometricInterpretation")),
        samples=pixels.samples,
        lossy=lossy,
        burned_in=text(elements.get("BurnedInAnnotation")).upper() == "YES",
        pixels=pixels,
        frames=frames,
    )
