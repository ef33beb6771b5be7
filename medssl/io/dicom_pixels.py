"""The pixels of one DICOM file: unpacked, whole, and as the header says they are to be read.

pydicom unpacks what it can; JPEG Lossless and JPEG-LS go through the GDCM inside SimpleITK.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import SimpleITK
from pydicom.pixels.decoders.base import get_decoder

from medssl.errors import VolumeReadError
from medssl.io.dicom_frames import Frame
from medssl.io.dicom_headers import DAMAGE, leniently
from medssl.io.soundness import refuse, verdicts

__all__ = ["FilePixels", "can_unpack", "read_file_pixels", "value_dtype"]

sitk: Any = SimpleITK
AIR_HU = -1024
"""What a scanner writes outside its field of view; padding becomes this."""

_GDCM_SYNTAXES = {
    "1.2.840.10008.1.2.4.57",  # JPEG Lossless
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless, first-order prediction
    "1.2.840.10008.1.2.4.80",  # JPEG-LS
    "1.2.840.10008.1.2.4.81",  # JPEG-LS near-lossless
}
_UNPACKED = {
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
    "",
}


class FilePixels:
    """The stored values of one file.

    Args:
        stored: ``(frames, rows, columns)``.
        padding: Stored value of pixels that were never measured, or None.
        is_inverted: Whether the smallest value is shown white.
    """

    def __init__(self, stored: npt.NDArray[Any], *, padding: int | None, is_inverted: bool) -> None:
        self.stored = stored
        self.padding = padding
        self.is_inverted = is_inverted

    def plane(self, frame: Frame) -> npt.NDArray[Any]:
        """Return the stored values of one frame, ``(rows, columns)``."""
        if not frame.tiles:
            return np.asarray(self.stored[frame.index])
        row, column = divmod(frame.index, frame.tiles)
        rows = slice(row * frame.rows, (row + 1) * frame.rows)
        columns = slice(column * frame.columns, (column + 1) * frame.columns)
        return np.asarray(self.stored[0, rows, columns])

    def values(self, frame: Frame, dtype: np.dtype[Any], *, is_ct: bool) -> npt.NDArray[Any]:
        """Return the real values of one frame: Hounsfield units for CT.

        Values that are shown inverted are turned round before they are scaled.
        """
        stored = self.plane(frame)
        padded = stored == self.padding if is_ct and self.padding is not None else None
        if self.is_inverted:
            low, high = frame.stored_range
            stored = (low + high) - stored.astype(np.int32)
        values = np.multiply(stored, frame.slope, dtype=np.float64) + frame.intercept
        if padded is not None:
            values[padded] = AIR_HU
        return np.asarray(values, dtype=dtype)


def can_unpack(syntax: str) -> bool:
    """Say whether this machine can unpack pixels of a transfer syntax."""
    if syntax in _UNPACKED or syntax in _GDCM_SYNTAXES:
        return True
    with leniently():
        try:
            return bool(get_decoder(pydicom.uid.UID(syntax)).is_available)
        except NotImplementedError:
            return False


def value_dtype(frames: tuple[Frame, ...]) -> np.dtype[Any]:
    """Return the type that holds the values of all frames: integers where they are whole."""
    if any(frame.slope != 1.0 or not frame.intercept.is_integer() for frame in frames):
        return np.dtype(np.float32)
    low = min(frame.stored_range[0] + frame.intercept for frame in frames)
    high = max(frame.stored_range[1] + frame.intercept for frame in frames)
    if low >= -(2**15) and high < 2**15:
        return np.dtype(np.int16)
    return np.dtype(np.int32) if low >= -(2**31) and high < 2**31 else np.dtype(np.float64)


def read_file_pixels(path: Path) -> FilePixels:
    """Unpack one file.

    Raises:
        VolumeReadError: With ``truncated``, ``corrupt`` or ``codec_missing``.
    """
    with verdicts(path), leniently():
        try:
            dataset = pydicom.dcmread(path, force=True)
            if "PixelData" not in dataset:
                raise refuse(path, "truncated", "the file ends before its pixels")
            return _file_pixels(path, dataset)
        except DAMAGE as error:
            if isinstance(error, VolumeReadError):
                raise
            raise refuse(path, "corrupt", "its pixels can't be unpacked") from error


def _file_pixels(path: Path, dataset: pydicom.FileDataset) -> FilePixels:
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    inverted = str(dataset.get("PhotometricInterpretation")) == "MONOCHROME1"
    padding = dataset.get("PixelPaddingValue")
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    return FilePixels(
        _unpack(path, dataset).reshape(-1, rows, columns),
        padding=padding if isinstance(padding, int) else None,
        is_inverted=inverted,
    )


def _unpack(path: Path, dataset: pydicom.FileDataset) -> npt.NDArray[Any]:
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    if not can_unpack(syntax):
        name = pydicom.uid.UID(syntax).name
        advice = f'{name} needs another codec: pip install "medssl[dicom]"'
        raise refuse(path, "codec_missing", advice)
    try:
        if syntax in _GDCM_SYNTAXES:
            return _unpack_by_gdcm(dataset)
        return np.asarray(dataset.pixel_array)
    except ValueError as error:
        if syntax not in _UNPACKED:
            raise
        raise refuse(path, "truncated", "it holds fewer pixels than its header says") from error
    except RuntimeError as error:
        raise refuse(path, "corrupt", "its pixels can't be unpacked") from error


def _unpack_by_gdcm(dataset: pydicom.FileDataset) -> npt.NDArray[Any]:
    """Unpack through a copy that asks for stored values: no scaling, no inversion."""
    dataset.RescaleSlope, dataset.RescaleIntercept = "1", "0"
    dataset.PhotometricInterpretation = "MONOCHROME2"
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy.dcm"
        dataset.save_as(copy)
        return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(copy))))
