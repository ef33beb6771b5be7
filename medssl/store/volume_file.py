"""One volume in one file: a blosc2 array, and behind it a note and the sums that prove it whole.

The file is a valid ``.b2nd`` that other tools open; what comes behind the array they ignore. That
blosc2 by itself serves nine of ten flipped bits as data is why there are sums.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import numpy.typing as npt

from medssl.errors import OutputError, StoreError
from medssl.io.atomic import atomic_path
from medssl.store.sums import PAGE, Sums
from medssl.types import Shape

__all__ = ["VolumeFile", "file_checksum", "write_volume"]

_MAGIC = b"MEDSSL02"
_TAIL = struct.Struct("<QQI8s")
"""Lengths of the sums and of the note, CRC-32 of both, magic: the end of a file."""

_CHUNK, _BLOCK = 48, 16
_PLANAR_CHUNK, _PLANAR_BLOCK = 256, 64
"""Blocks of 16 cubed decode the fewest needless voxels around a crop; smaller ones compress worse.

Chunks from 32 to 64 read crops equally fast. Of small ones fewer bytes have to be proved, in more
pieces; 48 costs least for crops and for slices together.
"""

_LEVEL = 5
"""Of LZ4HC: writes a third faster than 9, for files half a percent larger that read as fast."""


def write_volume(path: Path, array: npt.NDArray[np.int16], note: Mapping[str, Any]) -> None:
    """Write an array and a note about it, as a whole or not at all.

    Args:
        path: The file; its folder exists.
        array: ``(X, Y, Z)`` or ``(X, Y)``.
        note: What to remember of it; primitives.

    Raises:
        OutputError: If the file can't be written.
    """
    text = json.dumps(dict(note), allow_nan=False).encode()
    with atomic_path(path) as temporary:
        frame, chunks = _write_array(temporary, array)
        padding = bytes(-len(frame) % PAGE)
        sums = Sums.of(frame + padding, chunks).to_bytes()
        tail = _TAIL.pack(len(sums), len(text), zlib.crc32(text, zlib.crc32(sums)), _MAGIC)
        with temporary.open("ab") as stream:
            stream.write(padding + sums + text + tail)


def _write_array(path: Path, array: npt.NDArray[np.int16]) -> tuple[bytes, list[bytes]]:
    """Write an array as blosc2 does, and return the file's bytes and its compressed chunks."""
    chunk, block = (_CHUNK, _BLOCK) if array.ndim == 3 else (_PLANAR_CHUNK, _PLANAR_BLOCK)
    try:
        written = blosc2.asarray(
            np.ascontiguousarray(array),
            chunks=tuple(min(chunk, -(-count // block) * block) for count in array.shape),
            blocks=(block,) * array.ndim,
            urlpath=str(path),
            mode="w",
            contiguous=True,
            cparams={
                "codec": blosc2.Codec.LZ4HC,
                "clevel": _LEVEL,
                "filters": [blosc2.Filter.SHUFFLE],
                # High and low bytes apart: a tenth faster to read, and a little smaller.
                "splitmode": blosc2.SplitMode.ALWAYS_SPLIT,
                "typesize": 2,
                "nthreads": 1,
            },
        )
    except RuntimeError as error:
        # blosc2 does not say why; with sound arguments it is the disk.
        raise OutputError("the store can't be written: the disk is full or went away") from error
    # The array must outlive its chunks: blosc2 frees them with it.
    chunks = [written.schunk.get_chunk(number) for number in range(written.schunk.nchunks)]
    return path.read_bytes(), chunks


def file_checksum(path: Path) -> str:
    """Return the SHA-256 of a file, for a check of the whole store."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class VolumeFile:
    """An open volume. Every read proves the bytes that it touches.

    Another file that takes its place, and its removal, change nothing for who has it open.

    Args:
        path: The file.
        name: What to call the volume in messages.

    Attributes:
        name: What the volume is called in messages.
        note: What was written beside the array.
        shape: Voxels along each axis.
        size: Bytes of the file.

    Raises:
        StoreError: If the file is missing, cut short or damaged.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self.name = name
        try:
            self._open()
            while not self.is_current():
                # A writer put a new file in its place, and blosc2 may have opened that one.
                self._open()
        except (OSError, ValueError, RuntimeError, KeyError, struct.error) as error:
            raise self._damage(error) from error
        self.shape: Shape = tuple(int(count) for count in self._array.shape)
        self._edges: Shape = tuple(int(edge) for edge in self._array.chunks)
        self._counts = [-(-n // edge) for n, edge in zip(self.shape, self._edges, strict=True)]
        self._frame_pages = self._sums.frame_pages
        self._first_pages, self._last_pages = self._sums.first_pages, self._sums.last_pages

    def _open(self) -> None:
        with self._path.open("rb") as stream:
            self._map = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            self._identity = _identity(os.fstat(stream.fileno()))
        self.size = len(self._map)
        self._sums, self.note = _read_tail(self._map)
        # A plain array: slicing a memmap costs more than summing what it shows.
        self._words = np.frombuffer(self._map, "<u8", count=self._sums.pages.size * (PAGE // 8))
        if not self._sums.hold(self._words, self._sums.frame_pages):
            raise ValueError("its index is damaged")
        self._array = blosc2.open(str(self._path), mode="r", mmap_mode="r", dparams={"nthreads": 1})

    def is_current(self) -> bool:
        """Say whether the path still leads to the file that was opened.

        Raises:
            OSError: If it leads nowhere.
        """
        return _identity(self._path.stat()) == self._identity

    def read(
        self, start: Shape, stop: Shape, out: npt.NDArray[np.int16] | None = None
    ) -> npt.NDArray[np.int16]:
        """Return the voxels of a box that lies inside the volume.

        Args:
            start: First voxel along each axis.
            stop: One past the last.
            out: Where to write, in one piece; a new array if none.

        Raises:
            StoreError: If a byte that belongs to the box is not as it was written, or the file was
                cut short meanwhile.
        """
        shape = tuple(b - a for a, b in zip(start, stop, strict=True))
        result = np.empty(shape, np.int16) if out is None else out
        if 0 in shape:
            return result
        self.prove(start, stop)
        try:
            self._array.get_slice_numpy(result, (start, stop))
        except RuntimeError as error:
            raise self._damage(error) from error
        return result

    def prove(self, start: Shape | None = None, stop: Shape | None = None) -> None:
        """Check the bytes that a box needs, or all of them, without decoding any.

        Args:
            start: First voxel of the box along each axis; none checks the whole array.
            stop: One past the last.

        Raises:
            StoreError: If one is not as it was written, or the file was cut short.
        """
        # Touching a page beyond the end of a file that has shrunk would end the process.
        if self._map.size() != self.size:
            raise self._damage("its size has changed")
        if start is None or stop is None:
            runs = [(0, self._sums.pages.size)]
        else:
            runs = self._runs(start, stop)
        if not self._sums.hold(self._words, runs):
            raise self._damage("its bytes are not those that were written")

    def _runs(self, start: Shape, stop: Shape) -> list[tuple[int, int]]:
        """Return first and one past the last page of what a box needs, a run a row of chunks."""
        first = [a // edge for a, edge in zip(start, self._edges, strict=True)]
        last = [-(-b // edge) for b, edge in zip(stop, self._edges, strict=True)]
        rows = np.zeros(1, np.int64)
        for low, high, count in zip(first[:-1], last[:-1], self._counts[:-1], strict=True):
            rows = (rows[:, None] * count + np.arange(low, high)).ravel()
        rows *= self._counts[-1]
        begins = self._first_pages[rows + first[-1]].tolist()
        ends = self._last_pages[rows + (last[-1] - 1)].tolist()
        return [*self._frame_pages, *zip(begins, ends, strict=True)]

    def _damage(self, reason: str | Exception) -> StoreError:
        if isinstance(reason, OSError) and reason.strerror:
            reason = f"{reason.strerror.lower()} when opening its file"
        return StoreError(
            f'volume "{self.name}" of the store can\'t be read: {reason}; '
            "run medssl prepare again with --resume, which writes damaged volumes anew"
        )


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    """Return what tells one file from another that took its place."""
    return status.st_dev, status.st_ino, status.st_size


def _read_tail(content: mmap.mmap) -> tuple[Sums, dict[str, Any]]:
    """Return what stands behind the array."""
    size = len(content)
    if size < _TAIL.size:
        raise ValueError("its file is cut short")
    sums_length, note_length, crc, magic = _TAIL.unpack(content[-_TAIL.size :])
    begin = size - _TAIL.size - note_length - sums_length
    if magic != _MAGIC or begin < 0:
        raise ValueError("its file is cut short or of another kind")
    sums, text = content[begin : begin + sums_length], content[begin + sums_length : -_TAIL.size]
    if zlib.crc32(text, zlib.crc32(sums)) != crc:
        raise ValueError("its note is damaged")
    known = Sums.from_bytes(sums)
    if known.pages.size * PAGE != begin:
        raise ValueError("its file is cut short or of another kind")
    note: dict[str, Any] = json.loads(text)
    return known, note
