"""The text at the start of NRRD and MetaImage files, and whether the bytes after it are whole.

ITK fills in what a header leaves out and hands on what a damaged stream still gives; both are
looked for here, before ITK reads.
"""

from __future__ import annotations

import bz2
import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from medssl.io.soundness import refuse, verdicts
from medssl.types import Shape

__all__ = ["MAX_VOXEL_BYTES", "TextHeader", "check_payload", "read_text_header"]

MAX_VOXEL_BYTES = 8 * 2**30
_LONGEST_HEADER = 2**16
_NRRD, _META = b"NRRD000", (b"ObjectType", b"NDims", b"Comment")


@dataclass(frozen=True)
class TextHeader:
    """Fields of one header, names in lower case.

    Attributes:
        fields: What the header says, as text.
        offset: First byte of the voxels in ``data_file``.
        data_file: Where the voxels are: the file itself, or a neighbour.
        encoding: ``raw``, ``gzip``, ``zlib``, ``bzip2`` or another word that is left to ITK.
        shape: Sizes of all axes.
        has_spacing: Whether voxel sizes are given.
        has_orientation: Whether the axes are named.
    """

    fields: dict[str, str]
    offset: int
    data_file: Path
    encoding: str
    shape: Shape
    has_spacing: bool
    has_orientation: bool


def read_text_header(path: Path) -> TextHeader:
    """Read the header of a NRRD or MetaImage file.

    Raises:
        VolumeReadError: If there is none, or it points outside its folder.
    """
    with verdicts(path), path.open("rb") as file:
        start = file.read(16)
        file.seek(0)
        if start.startswith(_NRRD):
            return _nrrd(path, file)
        if start.startswith(_META):
            return _meta(path, file)
    what = "it starts with neither a NRRD nor a MetaImage header" if start else "the file is empty"
    raise refuse(path, "not_an_image", what)


def check_payload(path: Path, header: TextHeader, voxel_bytes: int) -> None:
    """Read the voxels once for their length and checksum.

    Args:
        path: The file, for messages.
        header: Its header.
        voxel_bytes: How many bytes there must be once they are unpacked.

    Raises:
        VolumeReadError: With ``truncated``, ``corrupt`` or ``unreadable``.
    """
    with verdicts(path), header.data_file.open("rb") as file:
        file.seek(header.offset)
        if header.encoding == "raw":
            found = header.data_file.stat().st_size - header.offset
        elif header.encoding == "gzip":
            with gzip.open(file) as unpacked:
                found = _count(unpacked)
        elif header.encoding == "zlib":
            found = _count_zlib(file)
        elif header.encoding == "bzip2":
            with bz2.open(file) as unpacked:
                found = _count(unpacked)
        else:
            return
    if found < voxel_bytes:
        raise refuse(path, "truncated", f"it holds {found} of {voxel_bytes} bytes of voxels")


def _nrrd(path: Path, file: BinaryIO) -> TextHeader:
    fields: dict[str, str] = {}
    for line in _lines(path, file):
        if not line:
            break
        name, colon, value = line.partition(":")
        if colon and not line.startswith("#"):
            fields[name.strip().lower()] = value.removeprefix("=").strip()
    detached = fields.get("data file", fields.get("datafile"))
    encoding = fields.get("encoding", "raw").lower()
    aliases = {"gz": "gzip", "bz2": "bzip2"}
    return TextHeader(
        fields=fields,
        offset=0 if detached else file.tell(),
        data_file=_neighbour(path, detached),
        encoding=aliases.get(encoding, encoding),
        shape=_sizes(path, fields.get("sizes", "")),
        has_spacing="space directions" in fields or "spacings" in fields,
        has_orientation="space" in fields and "space directions" in fields,
    )


def _meta(path: Path, file: BinaryIO) -> TextHeader:
    fields: dict[str, str] = {}
    for line in _lines(path, file):
        name, _, value = line.partition("=")
        fields[name.strip().lower()] = value.strip()
        if name.strip() == "ElementDataFile":
            break
    if "elementdatafile" not in fields:
        raise refuse(path, "corrupt", "its header does not say where the voxels are")
    detached = fields["elementdatafile"]
    local = detached.upper() == "LOCAL"
    compressed = fields.get("compresseddata", "False").lower() == "true"
    ascii_values = fields.get("binarydata", "True").lower() == "false"
    return TextHeader(
        fields=fields,
        offset=file.tell() if local else 0,
        data_file=_neighbour(path, None if local else detached),
        encoding="zlib" if compressed else "ascii" if ascii_values else "raw",
        shape=_sizes(path, fields.get("dimsize", "")),
        has_spacing="elementspacing" in fields,
        has_orientation=bool({"transformmatrix", "orientation", "rotation"} & set(fields)),
    )


def _lines(path: Path, file: BinaryIO) -> list[str]:
    """Return the lines of the header; the file is left where the voxels start."""
    lines: list[str] = []
    while file.tell() < _LONGEST_HEADER:
        raw = file.readline(_LONGEST_HEADER)
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        lines.append(line)
        if not raw or not line or line.replace(" ", "").startswith("ElementDataFile="):
            return lines
    raise refuse(path, "corrupt", "its header has no end")


def _neighbour(path: Path, name: str | None) -> Path:
    """Return the file of the voxels, which must lie in the same folder."""
    if name is None:
        return path
    if name.upper().startswith("LIST") or "%" in name or Path(name).name != name:
        raise refuse(path, "unreadable", "its voxels lie in several files or in another folder")
    return path.with_name(name)


def _sizes(path: Path, text: str) -> Shape:
    try:
        sizes = tuple(int(word) for word in text.split())
    except ValueError as error:
        raise refuse(path, "corrupt", "its header gives sizes that are not numbers") from error
    if not sizes or min(sizes) < 1:
        raise refuse(path, "empty", f"its header declares {sizes} voxels")
    return sizes


def _count(unpacked: gzip.GzipFile | bz2.BZ2File) -> int:
    found = 0
    while chunk := unpacked.read(2**20):
        found += len(chunk)
        if found > MAX_VOXEL_BYTES:
            break
    return found


def _count_zlib(file: BinaryIO) -> int:
    engine, found = zlib.decompressobj(), 0
    while chunk := engine.unconsumed_tail or file.read(2**20):
        found += len(engine.decompress(chunk, 2**22))
        if found > MAX_VOXEL_BYTES or engine.eof:
            return found
    raise EOFError
