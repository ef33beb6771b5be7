"""One volume in one file: a blosc2 array, and behind it a note and the sums that prove it whole.

The file is a valid ``.b2nd`` that other tools open; what comes behind the array they ignore. That
blosc2 by itself serves nine of ten flipped bits as data is why there are sums.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import numpy.typing as npt

from medssl.errors import OutputError, StoreError
from medssl.io.atomic import atomic_path
from medssl.store.sums import Sums
from medssl.types import Shape

__all__ = ["VolumeFile", "file_checksum", "write_volume"]

_MAGIC = b"MEDSSL01"
_TAIL = struct.Struct("<QI8s")
"""Length and CRC-32 of the compressed note, then the magic: the last bytes of a file."""

_CHUNK, _BLOCK = 48, 16
_PLANAR_CHUNK, _PLANAR_BLOCK = 256, 64
"""Of chunks from 32 to 64 and blocks from 16 to 32, 48 and 16 read crops and slices fastest."""


def write_volume(path: Path, array: npt.NDArray[np.int16], note: Mapping[str, Any]) -> None:
    """Write an array and a note about it, as a whole or not at all.

    Args:
        path: The file; its folder exists.
        array: ``(X, Y, Z)`` or ``(X, Y)``.
        note: What to remember of it; primitives.

    Raises:
        OutputError: If the file can't be written.
    """
    with atomic_path(path) as temporary:
        sums = Sums.of(*_write_array(temporary, array))
        content = json.dumps({"sums": sums.to_dict(), "note": dict(note)}, allow_nan=False)
        packed = zlib.compress(content.encode())
        with temporary.open("ab") as stream:
            stream.write(packed + _TAIL.pack(len(packed), zlib.crc32(packed), _MAGIC))


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
                "clevel": 9,
                "filters": [blosc2.Filter.SHUFFLE],
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

    Args:
        path: The file.
        name: What to call the volume in messages.

    Attributes:
        name: What the volume is called in messages.
        note: What was written beside the array.
        shape: Voxels along each axis.

    Raises:
        StoreError: If the file is missing, cut short or damaged.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self.name = name
        try:
            self._bytes = np.memmap(path, np.uint8, mode="r")
            content = _read_note(self._bytes)
            self._sums = Sums.from_dict(content["sums"])
            if not self._sums.frame_holds(self._bytes):
                raise ValueError("its index is damaged")
            self._array = blosc2.open(str(path), mode="r", mmap_mode="r", dparams={"nthreads": 1})
        except (OSError, ValueError, RuntimeError, KeyError, zlib.error, struct.error) as error:
            raise self._damage(error) from error
        self.note: dict[str, Any] = content["note"]
        self.shape: Shape = tuple(int(count) for count in self._array.shape)
        self._edges: Shape = tuple(int(edge) for edge in self._array.chunks)
        self._words = self._bytes[: self._bytes.size // 8 * 8].view(np.uint64)

    def read(self, start: Shape, stop: Shape) -> npt.NDArray[np.int16]:
        """Return the voxels of a box that lies inside the volume.

        Raises:
            StoreError: If a byte that belongs to the box is not as it was written, or the file was
                removed or cut short meanwhile.
        """
        try:
            # Touching a page beyond the end of a file that has shrunk would end the process.
            if self._path.stat().st_size != self._bytes.size:
                raise self._damage("its size has changed")
            for first, last in self._runs(start, stop):
                if not self._sums.chunks_hold(self._words, first, last):
                    raise self._damage("its bytes are not those that were written")
            box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
            return np.asarray(self._array[box])
        except (OSError, RuntimeError) as error:
            raise self._damage(error) from error

    def prove(self) -> None:
        """Check every byte of the array.

        Raises:
            StoreError: If one is not as it was written.
        """
        if not self._sums.chunks_hold(self._words, 0, len(self._sums.edges) - 1):
            raise self._damage("its bytes are not those that were written")

    def _runs(self, start: Shape, stop: Shape) -> Iterator[tuple[int, int]]:
        """Yield first and one past the last number of the chunks of each row that a box touches."""
        counts = [-(-n // edge) for n, edge in zip(self.shape, self._edges, strict=True)]
        first = [a // edge for a, edge in zip(start, self._edges, strict=True)]
        last = [-(-b // edge) for b, edge in zip(stop, self._edges, strict=True)]
        rows = [0]
        for low, high, count in zip(first[:-1], last[:-1], counts[:-1], strict=True):
            rows = [row * count + index for row in rows for index in range(low, high)]
        for row in rows:
            yield row * counts[-1] + first[-1], row * counts[-1] + last[-1]

    def _damage(self, reason: str | Exception) -> StoreError:
        if isinstance(reason, OSError) and reason.strerror:
            reason = f"{reason.strerror.lower()} when opening its file"
        return StoreError(
            f'volume "{self.name}" of the store can\'t be read: {reason}; '
            "run medssl prepare again with --resume, which writes damaged volumes anew"
        )


def _read_note(content: npt.NDArray[np.uint8]) -> dict[str, Any]:
    """Return what stands behind the array."""
    if content.size < _TAIL.size:
        raise ValueError("its file is cut short")
    length, crc, magic = _TAIL.unpack(content[-_TAIL.size :].tobytes())
    if magic != _MAGIC or length + _TAIL.size > content.size:
        raise ValueError("its file is cut short or of another kind")
    packed = content[-_TAIL.size - length : -_TAIL.size].tobytes()
    if zlib.crc32(packed) != crc:
        raise ValueError("its note is damaged")
    note: dict[str, Any] = json.loads(zlib.decompress(packed))
    return note
