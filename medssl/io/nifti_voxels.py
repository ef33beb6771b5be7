"""The voxels of NIfTI and Analyze files: read to the last byte, never beyond what is declared."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from medssl.io.nifti_header import Layout
from medssl.io.soundness import fill_non_finite, refuse, verdicts
from medssl.types import Volume

__all__ = ["open_stream", "read_frames"]

_CHUNK = 2**20
_ZEROS, _REMAINDER = 2**20, 16
"""So many zeros may follow the last voxel (blocks of a tape), and so few bytes of anything else."""

_DEFLATE = 1032
"""The most that one byte of deflate unpacks to, see https://zlib.net/zlib_tech.html."""


def open_stream(path: Path) -> BinaryIO:
    """Open by content: a wrong suffix does not matter, a wrong content does.

    Raises:
        VolumeReadError: If the file is empty.
    """
    start = _first_bytes(path)
    if not start:
        raise refuse(path, "not_an_image", "the file is empty")
    if _is_packed(start):
        return cast(BinaryIO, gzip.open(path, "rb"))
    return path.open("rb")


def read_frames(name: Path, path: Path, layout: Layout, parts: range) -> Iterator[Volume]:
    """Yield some volumes of a file, one after the other.

    Args:
        name: What the image is called in messages.
        path: The file of the voxels.
        layout: What the header says.
        parts: Which volumes, without gaps.

    Raises:
        VolumeReadError: If the file is cut short, damaged, or does not end where it should; the
            volumes yielded until then are void.
    """
    with verdicts(name), open_stream(path) as stream:
        offset = _offset(name, path, layout)
        _check_length(name, path, offset + layout.voxel_bytes)
        stream.seek(offset + parts.start * layout.frame_bytes)
        for _ in parts:
            values = np.empty(layout.frame_bytes // layout.stored.itemsize, layout.stored)
            if not _fill(stream, values):
                raise refuse(name, "truncated", "the file ends before its last voxel")
            yield _volume(name, layout, values)
            del values
        rest = (layout.public.frames - parts.stop) * layout.frame_bytes
        _read_to_end(name, stream, rest)


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)


def _is_packed(start: bytes) -> bool:
    return start[:2] == b"\x1f\x8b"


def _offset(name: Path, path: Path, layout: Layout) -> int:
    """Return where the voxels start; if the header leaves it open, the size of the file decides.

    Readers disagree over a header that says zero: some start right after it, some after the four
    bytes that announce extensions.
    """
    if layout.offset is not None:
        return layout.offset
    length = 0
    limit = layout.smallest_offset + 4 + layout.voxel_bytes
    with open_stream(path) as stream:
        while length <= limit and (chunk := stream.read(_CHUNK)):
            length += len(chunk)
    offset = length - layout.voxel_bytes
    if offset < layout.smallest_offset:
        raise refuse(name, "truncated", "the file ends before its last voxel")
    if offset - layout.smallest_offset not in (0, 4):
        raise refuse(name, "corrupt", "its header does not say where the voxels start")
    return offset


def _check_length(name: Path, path: Path, needed: int) -> None:
    """Compare with what the file can hold, before anything is allocated."""
    size = path.stat().st_size
    most = size * _DEFLATE if _is_packed(_first_bytes(path)) else size
    if needed > most:
        raise refuse(name, "truncated", "the file is too short for the voxels that it declares")


def _fill(stream: BinaryIO, values: npt.NDArray[Any]) -> bool:
    """Read values in pieces; false where the stream ends before."""
    target = values.view(np.uint8).data
    done = 0
    while done < len(target):
        chunk = stream.read(min(_CHUNK, len(target) - done))
        if not chunk:
            return False
        target[done : done + len(chunk)] = chunk
        done += len(chunk)
    return True


def _read_to_end(name: Path, stream: BinaryIO, rest: int) -> None:
    """Read the volumes that nobody asked for, and see that little follows them."""
    extra = meaningful = 0
    while chunk := stream.read(_CHUNK):
        extra += len(chunk)
        if extra > rest:
            meaningful += len(chunk[-(extra - rest) :].rstrip(b"\0"))
        if extra - rest > _ZEROS:
            raise refuse(name, "too_large", "it goes on long after its last voxel")
        if meaningful > _REMAINDER:
            raise refuse(name, "corrupt", "it holds more than the voxels that it declares")
    if extra < rest:
        raise refuse(name, "truncated", "the file ends before its last voxel")


def _volume(name: Path, layout: Layout, stored: npt.NDArray[Any]) -> Volume:
    public = layout.public
    shaped = _scale(stored, layout).reshape(layout.grid.stored_shape, order="F")
    data, filled = fill_non_finite(name, shaped)
    fixes = (*public.fixes, *(("frames_split",) if public.frames > 1 else ()), *filled)
    return Volume(layout.grid.fit(data), public.affine, fixes=fixes)


def _scale(stored: npt.NDArray[Any], layout: Layout) -> npt.NDArray[Any]:
    with np.errstate(over="ignore", invalid="ignore"):
        values = stored.astype(layout.public.dtype, copy=False)
        if layout.slope != 1.0:
            values = values * values.dtype.type(layout.slope)
        if layout.inter != 0.0:
            values = values + values.dtype.type(layout.inter)
    return values
