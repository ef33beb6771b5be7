"""Packed DICOM pixels unpacked: by pydicom and its plug-ins, else by the GDCM inside SimpleITK."""

from __future__ import annotations

import functools
import importlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medssl.io.dicom_headers import leniently
from medssl.io.soundness import refuse

__all__ = ["PLAIN", "can_unpack", "codec_advice", "unpack"]

PLAIN = frozenset(("", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"))
"""Syntaxes whose pixels lie in the file as they are, lowest byte first."""

_UNPACKED = PLAIN | {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"}
_GDCM_FIRST = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (57, 70))  # JPEG Lossless
_GDCM_TOO = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 80, 81, 90, 91))


@functools.cache
def can_unpack(syntax: str) -> bool:
    """Say whether this machine can unpack pixels of a transfer syntax."""
    return syntax in _UNPACKED | _GDCM_FIRST | _GDCM_TOO or _pydicom_can(syntax)


def codec_advice(syntax: str) -> str:
    """Return which codec is missing and how to install it."""
    with leniently():
        uid = pydicom.uid.UID(syntax)
    name = uid.name if uid.is_transfer_syntax else "an unknown transfer syntax"
    return f'its pixels are packed as {name}; unpack with: pip install "medssl[dicom]"'


def unpack(path: Path, dataset: pydicom.FileDataset) -> npt.NDArray[Any]:
    """Return the stored values of a file.

    Raises:
        VolumeReadError: With ``codec_missing``, ``truncated`` or ``corrupt``.
    """
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        known = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else known
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    if not can_unpack(syntax):
        raise refuse(path, "codec_missing", codec_advice(syntax))
    try:
        if syntax in _GDCM_FIRST or (syntax in _GDCM_TOO and not _pydicom_can(syntax)):
            return _unpack_by_gdcm(dataset)
        return np.asarray(dataset.pixel_array)
    except ValueError as error:
        if syntax not in _UNPACKED:
            raise
        raise refuse(path, "truncated", "it holds fewer pixels than its header says") from error
    except RuntimeError as error:
        raise refuse(path, "corrupt", "its pixels can't be unpacked") from error


@functools.cache
def _pydicom_can(syntax: str) -> bool:
    with leniently():
        try:
            return bool(get_decoder(pydicom.uid.UID(syntax)).is_available)
        except NotImplementedError:
            return False


def _unpack_by_gdcm(dataset: pydicom.FileDataset) -> npt.NDArray[Any]:
    """Unpack through a copy that asks for stored values: no scaling, no inversion."""
    copy = pydicom.Dataset()
    for keyword in _NEEDED:
        if keyword in dataset:
            copy[keyword] = dataset[keyword]
    copy.RescaleSlope, copy.RescaleIntercept = "1", "0"
    copy.PhotometricInterpretation = "MONOCHROME2"
    copy.file_meta = dataset.file_meta
    # Imported here, because it takes 90 MB of every process and few files need it.
    sitk: Any = importlib.import_module("SimpleITK")
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "copy.dcm"
        pydicom.dcmwrite(path, copy, enforce_file_format=True)
        return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(path))))


_NEEDED = (
    *("SOPClassUID", "SOPInstanceUID", "SamplesPerPixel", "NumberOfFrames", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData"),
)
"""All that GDCM gets to see: no name, no date, and nothing else that it could stumble over."""
