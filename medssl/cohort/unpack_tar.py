"""Tar archives, compressed or not, read as a stream and to the last byte."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from pathlib import Path
from typing import IO, Any

from medssl.cohort.bounds import Bounds, refuse_archive, write_entry

__all__ = ["unpack_tar"]

_MAGIC: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
_LONGEST_NOTE = 2**20
_NOTES = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)


class _DamagedTarError(ValueError):
    """A header that is no header; tarfile itself would take it for the end of the archive."""


class _StrictHeader(tarfile.TarInfo):
    """A header block that is whole, or the end of the archive as the format spells it."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _StrictHeader:
        """Read one block.

        Raises:
            _DamagedTarError: If it is cut short or its sum is wrong, or a note in it would fill the
                memory.
        """
        if len(buf) != tarfile.BLOCKSIZE:
            raise _DamagedTarError("the archive ends without its end")
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if not any(buf):
                raise  # an empty block tells the end
            raise _DamagedTarError("no header") from error
        if header.type in _NOTES and header.size > _LONGEST_NOTE:
            raise _DamagedTarError("a name of implausible length")
        return header


class _Watched(io.RawIOBase):
    """A stream that refuses to go on once implausibly much came out of it."""

    def __init__(self, stream: IO[bytes], bounds: Bounds) -> None:
        self.stream = stream
        self.bounds = bounds
        self.left = bounds.bytes + 2 * tarfile.RECORDSIZE

    def read(self, size: int = -1) -> bytes:
        content = self.stream.read(size)
        self.left -= len(content)
        if self.left < 0:
            refuse_archive(self.bounds.archive, "too_large", "unpacks to implausibly much")
        return content


def unpack_tar(bounds: Bounds, folder: Path) -> None:
    """Unpack a tar archive into a folder; what it holds is checked entry by entry.

    Raises:
        VolumeReadError: If an entry is not allowed, or unpacks to implausibly much.
        ValueError: If the archive is damaged.
    """
    with bounds.archive.open("rb") as start:
        magic = start.read(6)
    opener: Any = next((o for m, o in _MAGIC.items() if magic.startswith(m)), open)
    try:
        with opener(bounds.archive, "rb") as stream:
            watched = _Watched(stream, bounds)
            with tarfile.open(fileobj=watched, mode="r|", tarinfo=_StrictHeader) as content:
                _unpack_members(bounds, folder, content)
            while watched.read(2**20):  # the compressor's checksum lies at the very end
                pass
    except (tarfile.TarError, lzma.LZMAError, zlib.error) as error:
        raise _DamagedTarError(str(error)) from error


def _unpack_members(bounds: Bounds, folder: Path, content: tarfile.TarFile) -> None:
    for member in content:
        vars(content)["members"] = []  # or a million entries would stay in memory
        if member.isdir():
            bounds.take(0)
            continue
        if not member.isreg() or member.issparse():
            refuse_archive(bounds.archive, "unreadable", "holds a link or a device")
        bounds.take(member.size)
        packed = content.extractfile(member)
        if packed is not None:
            write_entry(bounds, folder, member.name, packed)
