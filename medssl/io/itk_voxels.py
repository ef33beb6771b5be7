"""The voxels of NRRD and MetaImage files: unpacked in pieces, never beyond what is declared."""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from medssl.io.contract import single_file
from medssl.io.itk_header import ItkHeader
from medssl.io.soundness import check_size, refuse, verdicts

__all__ = ["read_voxels"]

_CHUNK = 2**20
_ZEROS, _REMAINDER = 2**20, 16
"""So many zeros may follow the last voxel, and so few bytes of anything else."""

_DEFLATE = 1032
_GZIP = b"\x1f\x8b"
_LONGEST_TEXT = 2**28


def read_voxels(path: Path, header: ItkHeader) -> npt.NDArray[Any]:
    """Return all values of all axes, the fastest first, in the byte order of this machine.

    Raises:
        VolumeReadError: If a file is missing, cut short or damaged, or holds more than it should.
    """
    size = check_size(path, header.sizes, header.dtype.itemsize)
    count = size // header.dtype.itemsize
    if count % len(header.files):
        raise refuse(path, "corrupt", "its voxels do not spread evenly over its files")
    with verdicts(path):
        for name in header.files:
            _check_length(path, single_file(name), header, size // len(header.files))
    values = np.empty(count, header.dtype)
    for part, name in zip(np.split(values, len(header.files)), header.files, strict=True):
        with verdicts(path):
            _read_file(path, single_file(name), header, part)
    shaped = values.reshape(header.sizes, order="F")
    return shaped.astype(header.dtype.newbyteorder("="), copy=False)


def _check_length(path: Path, name: Path, header: ItkHeader, needed: int) -> None:
    """Compare with what a file can hold, before anything is allocated."""
    most = name.stat().st_size
    if header.encoding in ("gzip", "zlib"):
        most *= _DEFLATE
    elif header.encoding in ("ascii", "hex"):
        needed //= 8  # a number of eight bytes may be written with one digit
    if needed > most and header.encoding != "bzip2":
        raise refuse(path, "truncated", "the file is too short for the voxels that it declares")


def _read_file(path: Path, name: Path, header: ItkHeader, values: npt.NDArray[Any]) -> None:
    """Fill an array with the voxels of one file."""
    size = name.stat().st_size
    with name.open("rb") as file:
        start = size - values.nbytes if header.offset < 0 else header.offset
        if start < 0:
            raise refuse(path, "truncated", "the file is too short for the voxels that it declares")
        file.seek(start)
        for _ in range(min(header.line_skip, size)):
            file.readline()
        if header.encoding == "ascii":
            _read_words(path, file, values)
            return
        _fill(path, _unpacked(path, file, header.encoding), values, header.byte_skip)


def _fill(path: Path, chunks: Iterable[bytes], values: npt.NDArray[Any], skipped: int) -> None:
    """Copy chunks into an array, after as many bytes as are to be skipped."""
    target = values.view(np.uint8).data
    done, extra, meaningful = -skipped, 0, 0
    for chunk in chunks:
        taken = chunk[max(-done, 0) :][: len(target) - max(done, 0)]
        place = max(done, 0)
        target[place : place + len(taken)] = taken
        rest = chunk[max(-done, 0) + len(taken) :] if done + len(chunk) > len(target) else b""
        done = min(done + len(chunk), len(target))
        extra, meaningful = extra + len(rest), meaningful + len(rest.rstrip(b"\0"))
        if extra > _ZEROS:
            raise refuse(path, "too_large", "it goes on long after its last voxel")
        if meaningful > _REMAINDER:
            raise refuse(path, "corrupt", "it holds more than the voxels that it declares")
    if done < len(target):
        raise refuse(path, "truncated", f"it holds {max(done, 0)} of {len(target)} bytes of voxels")


def _unpacked(path: Path, file: BinaryIO, encoding: str) -> Iterator[bytes]:
    if encoding == "hex":
        return _from_hex(path, file)
    if encoding in ("zlib", "gzip"):
        return _inflated(file)
    if encoding == "bzip2":
        return _unpacked_bzip2(file)
    return iter(lambda: file.read(_CHUNK), b"")


def _unpacked_bzip2(file: BinaryIO) -> Iterator[bytes]:
    with bz2.open(file) as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk


def _inflated(file: BinaryIO) -> Iterator[bytes]:
    """Yield what a stream of zlib or gzip holds, in pieces of bounded size."""
    engine = zlib.decompressobj(32 + zlib.MAX_WBITS)
    while not engine.eof:
        packed = engine.unconsumed_tail or file.read(_CHUNK)
        if not packed:
            raise EOFError
        yield engine.decompress(packed, _CHUNK)
        if engine.eof and engine.unused_data.startswith(_GZIP):  # a file of several parts
            packed = engine.unused_data
            engine = zlib.decompressobj(32 + zlib.MAX_WBITS)
            yield engine.decompress(packed, _CHUNK)


def _from_hex(path: Path, file: BinaryIO) -> Iterator[bytes]:
    half = b""
    while text := file.read(_CHUNK):
        digits = half + b"".join(text.split())
        half = digits[len(digits) // 2 * 2 :]
        try:
            yield bytes.fromhex(digits[: len(digits) // 2 * 2].decode("ascii"))
        except ValueError as error:  # also where it is no ASCII
            raise refuse(path, "corrupt", "its voxels are no hexadecimal digits") from error


def _read_words(path: Path, file: BinaryIO, values: npt.NDArray[Any]) -> None:
    """Fill an array with numbers written as text."""
    text = file.read(_LONGEST_TEXT + 1)
    if len(text) > _LONGEST_TEXT:
        raise refuse(path, "too_large", "its voxels are too much text")
    words = text.replace(b",", b" ").split()
    if len(words) < values.size:
        raise refuse(path, "truncated", f"it holds {len(words)} of {values.size} values")
    if len(words) > values.size:
        raise refuse(path, "corrupt", "it holds more than the voxels that it declares")
    kind = float if values.dtype.kind == "f" else int
    try:
        values[:] = [kind(word) for word in words]
    except (ValueError, OverflowError) as error:
        raise refuse(path, "corrupt", "its voxels are no numbers of the declared type") from error
