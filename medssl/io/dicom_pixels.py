"""The pixels of one DICOM file: whole, and as the header says they are to be read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom

from medssl.errors import VolumeReadError
from medssl.io.dicom_codecs import PLAIN, unpack
from medssl.io.dicom_format import PixelFormat
from medssl.io.dicom_frames import Frame
from medssl.io.dicom_headers import DAMAGE, leniently
from medssl.io.dicom_walk import NO_PIXELS
from medssl.io.soundness import refuse, verdicts

__all__ = ["FilePixels", "check_size", "read_file_pixels", "value_dtype"]

AIR_HU = -1024
"""What a scanner writes outside its field of view; padding becomes this."""

_PLAUSIBLE_HU = (-950.0, 4000.0)
_SURELY_PADDING_HU = -1500.0
_RUN_LENGTH = "1.2.840.10008.1.2.5"
_LARGEST_RATIO = 5000
_LARGE = 1 << 30
_MOST_FILLING = 1 << 16


class FilePixels:
    """The stored values of one file.

    Args:
        stored: The wanted pictures by number, ``(rows, columns)`` each.
        pixels: How they were stored.
    """

    def __init__(self, stored: Mapping[int, npt.NDArray[Any]], pixels: PixelFormat) -> None:
        self.stored = stored
        self.pixels = pixels

    def plane(self, frame: Frame) -> npt.NDArray[Any]:
        """Return the stored values of one frame, ``(rows, columns)``."""
        if not frame.tiles:
            return self.stored[frame.index]
        row, column = divmod(frame.index, frame.tiles)
        rows = slice(row * frame.rows, (row + 1) * frame.rows)
        columns = slice(column * frame.columns, (column + 1) * frame.columns)
        return self.stored[0][rows, columns]

    def values(self, frame: Frame, dtype: np.dtype[Any], *, is_ct: bool) -> npt.NDArray[Any]:
        """Return the real values of one frame: Hounsfield units for CT.

        Values that are shown inverted are turned round before they are scaled.
        """
        stored = self.plane(frame)
        padded = self._padded(stored, frame) if is_ct else None
        if self.pixels.is_inverted:
            low, high = self.pixels.stored_range
            stored = (low + high) - stored.astype(np.int64)
        if np.issubdtype(dtype, np.integer):
            values = stored.astype(dtype)
            if frame.intercept:
                values += dtype.type(frame.intercept)
        else:
            values = (stored * np.float64(frame.slope) + frame.intercept).astype(dtype)
        if padded is not None:
            values[padded] = AIR_HU
        return values

    def _padded(self, stored: npt.NDArray[Any], frame: Frame) -> npt.NDArray[np.bool_] | None:
        """Return where a CT frame was never measured; None where it was everywhere.

        A stated padding value that means soft tissue is a mistake of the writer. GE's scanners
        fill the corners with a value far below air and do not always say so.
        """
        low, high = _PLAUSIBLE_HU
        if self.pixels.padding is not None:
            ends = [frame.slope * end + frame.intercept for end in self.pixels.padding]
            if max(ends) <= low or min(ends) >= high:
                return (stored >= self.pixels.padding[0]) & (stored <= self.pixels.padding[1])
        corner = stored[0, 0]
        if frame.slope * float(corner) + frame.intercept > _SURELY_PADDING_HU:
            return None
        others = stored[[0, -1, -1], [-1, 0, -1]]
        return stored == corner if np.all(others == corner) and corner == stored.min() else None


def value_dtype(frames: Iterable[tuple[Frame, PixelFormat]]) -> np.dtype[Any]:
    """Return the type that holds the values of all frames: integers where they are whole."""
    known = {(frame.slope, frame.intercept, pixels) for frame, pixels in frames}
    if any(pixels.floating == "float64" for _, _, pixels in known):
        return np.dtype(np.float64)
    if any(
        slope != 1.0 or not intercept.is_integer() or pixels.floating
        for slope, intercept, pixels in known
    ):
        return np.dtype(np.float32)
    low = min(pixels.stored_range[0] + intercept for _, intercept, pixels in known)
    high = max(pixels.stored_range[1] + intercept for _, intercept, pixels in known)
    if low >= -(2**15) and high < 2**15:
        return np.dtype(np.int16)
    return np.dtype(np.int32) if low >= -(2**31) and high < 2**31 else np.dtype(np.float64)


def check_size(path: Path, pixels: PixelFormat) -> None:
    """Compare the size of a file with the pixels that its header promises.

    Raises:
        VolumeReadError: With ``truncated``, ``corrupt`` or ``too_large``.
    """
    with verdicts(path):
        size = path.stat().st_size
    expected = _expected_bytes(pixels)
    if pixels.offset == NO_PIXELS:
        raise refuse(path, "truncated", "it ends before its pixels")
    if pixels.syntax not in PLAIN:
        if expected > _LARGE and expected > _LARGEST_RATIO * size:
            raise refuse(path, "too_large", "its header promises more pixels than it can hold")
    elif pixels.offset >= 0:
        stated = size - pixels.offset if pixels.length < 0 else pixels.length
        if min(stated, size - pixels.offset) < expected:
            raise refuse(path, "truncated", "it holds fewer pixels than its header says")
        row = expected // (pixels.rows * pixels.pictures)
        if pixels.length >= expected + max(2, row) and not _is_filling(path, pixels, expected):
            raise refuse(path, "corrupt", "it holds more pixels than its header says")


def read_file_pixels(path: Path, pixels: PixelFormat, needed: Set[int]) -> FilePixels:
    """Unpack one file.

    Args:
        path: The file.
        pixels: How it stores them.
        needed: Which pictures are asked for.

    Raises:
        VolumeReadError: With ``truncated``, ``corrupt``, ``too_large`` or ``codec_missing``.
    """
    check_size(path, pixels)
    with verdicts(path):
        try:
            is_plain = pixels.syntax in PLAIN and pixels.offset >= 0
            read = _read_plain if is_plain else _read_packed
            stored = read(path, pixels, {0} if _is_tiled(pixels, needed) else needed)
        except DAMAGE as error:
            if isinstance(error, VolumeReadError):
                raise
            raise refuse(path, "corrupt", "its pixels can't be unpacked") from error
    return FilePixels(stored, pixels)


def _is_filling(path: Path, pixels: PixelFormat, expected: int) -> bool:
    """Say whether what follows the pixels is one byte over and over, as some writers fill up."""
    with verdicts(path), path.open("rb") as file:
        file.seek(pixels.offset + expected)
        rest = file.read(min(pixels.length - expected, _MOST_FILLING + 1))
    return len(rest) <= _MOST_FILLING and len(set(rest)) == 1


def _expected_bytes(pixels: PixelFormat) -> int:
    bits = pixels.rows * pixels.columns * pixels.pictures * pixels.allocated
    return (bits + 7) // 8


def _is_tiled(pixels: PixelFormat, needed: Set[int]) -> bool:
    """Say whether frames are tiles of the only picture."""
    return pixels.pictures == 1 and needed != {0}


def _read_plain(path: Path, pixels: PixelFormat, needed: Set[int]) -> dict[int, npt.NDArray[Any]]:
    count, shape = pixels.rows * pixels.columns, (pixels.rows, pixels.columns)
    with path.open("rb", buffering=0) as file:
        if pixels.allocated == 1:
            file.seek(pixels.offset)
            packed = np.fromfile(file, np.uint8, _expected_bytes(pixels))
            bits = np.unpackbits(packed, count=count * pixels.pictures, bitorder="little")
            return dict(enumerate(bits.reshape(-1, *shape)))
        if pixels.allocated % 8:
            raise ValueError(f"pixels of {pixels.allocated} bits")
        dtype = np.dtype(f"<{'f' if pixels.floating else 'u'}{pixels.allocated // 8}")
        found = {}
        for index in sorted(needed):
            file.seek(pixels.offset + index * count * dtype.itemsize)
            stored = np.fromfile(file, dtype, count)
            found[index] = _meaningful(stored.reshape(shape), pixels)
    return found


def _meaningful(stored: npt.NDArray[Any], pixels: PixelFormat) -> npt.NDArray[Any]:
    """Return the bits that are the value, with their sign; old overlays hide in the others."""
    if pixels.floating:
        return stored
    size = stored.dtype.itemsize * 8
    signed = np.dtype(f"i{stored.dtype.itemsize}")
    unsigned = np.dtype(f"u{stored.dtype.itemsize}")
    if pixels.stored == size:
        return stored.view(signed if pixels.is_signed else unsigned)
    # The value is pushed to the top and drawn down again, which repeats its sign.
    raised = stored.view(unsigned) << (size - 1 - pixels.high)
    return raised.view(signed if pixels.is_signed else unsigned) >> (size - pixels.stored)


def _read_packed(path: Path, pixels: PixelFormat, needed: Set[int]) -> dict[int, npt.NDArray[Any]]:
    with leniently():
        dataset = pydicom.dcmread(path, force=True)
        if "PixelData" not in dataset:
            raise refuse(path, "truncated", "it ends before its pixels")
        stored = unpack(path, dataset).reshape(-1, pixels.rows, pixels.columns)
    stored = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    if len(stored) < pixels.pictures:
        raise refuse(path, "truncated", "it holds fewer pictures than its header says")
    if len(stored) > pixels.pictures:
        raise refuse(path, "corrupt", "it holds more pictures than its header says")
    is_whole = pixels.syntax == _RUN_LENGTH or not dataset.file_meta.TransferSyntaxUID.is_compressed
    stored = _meaningful(stored, pixels) if is_whole else stored
    return {index: stored[index] for index in needed}
