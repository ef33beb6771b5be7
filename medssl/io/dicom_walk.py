"""The elements of a DICOM header that medssl asks for, found without building the others.

pydicom makes an object of every element on the way; a cohort asks for sixty of them in files of
hundreds. This walk steps from length to length and keeps the bytes of what is wanted. It knows the
two little-endian encodings that scanners and archives write; whatever else there is, or whatever
looks odd, is left to pydicom.

Standard: DICOM PS3.5, section 7 (data set encoding).
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medssl.io.dicom_elements import Elements
from medssl.io.dicom_tags import TAGS, HeaderItem
from medssl.io.soundness import refuse

__all__ = [
    "NOT_LOOKED",
    "NO_PIXELS",
    "PixelPlace",
    "UnusualEncodingError",
    "walk_header",
]

_LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC"))
_LONG |= frozenset((b"UN", b"UR", b"UT", b"UV"))
_SHORT = frozenset((b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO"))
_SHORT |= frozenset((b"LT", b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"))
_IMPLICIT = "1.2.840.10008.1.2"
_NOT_PLAIN = ("1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")  # big-endian, deflated
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXELS = {0x7FE00008: "float32", 0x7FE00009: "float64", 0x7FE00010: ""}
_WINDOW, _LARGEST, _DEEPEST = 1 << 14, 1 << 20, 16
_LAST = 0x7FE00008  # pixels; what follows them is not asked for
_HEAD = struct.Struct("<HH2sHL")


_WANTED = frozenset(tag for tag, _ in TAGS.values())
_SEQUENCES = frozenset(tag for tag, representation in TAGS.values() if representation == "SQ")


NO_PIXELS, NOT_LOOKED = -2, -1
"""What stands for the place of pixels that are not there, or that only pydicom finds."""


class UnusualEncodingError(Exception):
    """The walk met something that is left to pydicom."""


@dataclass(frozen=True, slots=True)
class PixelPlace:
    """Where the pixels lie in their file.

    Attributes:
        offset: Of the first byte; negative where there are none, or where nobody looked.
        length: In bytes, as the file states it; -1 where it leaves that open.
        dtype: Type of floating-point pixels as numpy spells it, else empty.
    """

    offset: int = NO_PIXELS
    length: int = -1
    dtype: str = ""


@dataclass(frozen=True, slots=True)
class WalkedHeader:
    """What the walk through a header found.

    Attributes:
        elements: The wanted elements.
        pixels: Where the pixels are.
        syntax: UID of the transfer syntax; None where the file has no meta elements.
        media_class: Class of the object as the meta elements state it.
    """

    elements: HeaderItem
    pixels: PixelPlace
    syntax: str | None
    media_class: str


def walk_header(path: Path) -> WalkedHeader:
    """Find the wanted elements of a file and the place of its pixels.

    Raises:
        UnusualEncodingError: If pydicom had better read the file.
        VolumeReadError: With ``not_an_image``, or ``truncated`` where the file ends in an element.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        return _Walk(path, descriptor).header()
    finally:
        os.close(descriptor)


def starts_like_dicom(start: bytes) -> bool:
    """Say whether the first 132 bytes of a file are DICOM's, with or without the preamble."""
    if start[128:132] == b"DICM":
        return True
    if len(start) < 132:
        return False
    # Old files begin at once with group 2 or 8, either byte first; a small element number or a
    # representation tells them from noise.
    if start[:2] in (b"\x00\x02", b"\x00\x08"):
        return start[2] == 0 and start[4:6] in _LONG | _SHORT
    return start[:2] in (b"\x02\x00", b"\x08\x00") and start[3] == 0


class _Walk:
    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size
        self._start = self._stop = self._depth = 0
        self._buffer = b""
        self._media_class = ""
        self.pixels = PixelPlace()

    def header(self) -> WalkedHeader:
        self._fill(0)
        if not starts_like_dicom(self._buffer[:132]):
            empty = "the file is empty"
            reason = "it does not start like DICOM" if self._size else empty
            raise refuse(self._path, "not_an_image", reason)
        position = 132 if self._buffer[128:132] == b"DICM" else 0
        syntax, position = self._syntax(position)
        if syntax in _NOT_PLAIN:
            raise UnusualEncodingError
        if position + 12 > self._stop:
            self._fill(position)
        first = position - self._start
        if self._buffer[first] == 0 and self._buffer[first + 1]:
            raise UnusualEncodingError  # big-endian, though nothing says so
        # Some archives convert the data set and forget to say so; the first element shows it.
        letters = self._buffer[first + 4 : first + 6]
        explicit = letters in _LONG or letters in _SHORT
        if not explicit and letters.isalpha() and letters.isupper() and syntax != _IMPLICIT:
            raise UnusualEncodingError
        raw, _ = self._walk(position, self._size, explicit=explicit, wanted=_WANTED)
        charset = raw.get(TAGS["SpecificCharacterSet"][0])
        return WalkedHeader(Elements(raw, charset), self.pixels, syntax, self._media_class)

    def _syntax(self, position: int) -> tuple[str | None, int]:
        """Return the transfer syntax and where the meta elements end."""
        syntax = None
        while True:
            if position + 12 > self._stop:
                self._fill(position)
            group, element, letters, short, long = self._head(position)
            if group != 2:
                return syntax, position
            if letters not in _LONG and letters not in _SHORT:
                raise UnusualEncodingError
            length, head = (long, 12) if letters in _LONG else (short, 8)
            if element in (0x0002, 0x0010):
                value = self._value(position + head, length)
                uid = value.decode("ascii", "replace").strip(" \0")
                if element == 0x0010:
                    syntax = uid
                else:
                    self._media_class = uid
            position += head + length
            if position > self._size:
                raise refuse(self._path, "truncated", "it ends within its header")

    def _fill(self, position: int) -> None:
        """Look at the file from a position on; zeros stand for what is past its end."""
        self._buffer = os.pread(self._descriptor, _WINDOW, position)
        self._start = position
        self._stop = position + len(self._buffer)
        if self._stop >= self._size or not self._buffer:
            self._buffer += bytes(12)
            self._stop += 12

    def _head(self, position: int) -> tuple[int, int, bytes, int, int]:
        if position + 12 > self._stop:
            self._fill(position)
        if position + 8 > self._size and position < self._size:
            raise refuse(self._path, "truncated", "it ends within its header")
        return _HEAD.unpack_from(self._buffer, position - self._start)

    def _value(self, position: int, length: int) -> bytes:
        if length > _LARGEST:
            raise UnusualEncodingError
        if position + length <= self._stop:
            return self._buffer[position - self._start : position - self._start + length]
        return os.pread(self._descriptor, length, position)

    def _walk(
        self, position: int, end: int, *, explicit: bool, wanted: frozenset[int]
    ) -> tuple[dict[int, Any], int]:
        """Return the wanted elements up to ``end`` or to the end of the item, and where it was."""
        found: dict[int, Any] = {}
        is_top = self._depth == 0
        while position < end:
            group, element, letters, short, long = (
                self._head(position)
                if position + 12 > self._stop or position < self._start
                else _HEAD.unpack_from(self._buffer, position - self._start)
            )
            tag = group << 16 | element
            if not explicit or group == 0xFFFE:
                length, value = short << 16 | letters[1] << 8 | letters[0], position + 8
            elif letters in _SHORT:
                length, value = short, position + 8
            elif letters in _LONG:
                length, value = long, position + 12
            else:
                raise UnusualEncodingError
            if tag >= _LAST and self._is_end(tag, value, length, is_top=is_top):
                return found, value
            if tag in wanted or length == _UNDEFINED:
                position = self._element(found, tag, letters, value, length, explicit, wanted)
            else:
                position = value + length
            if position > self._size:
                raise refuse(self._path, "truncated", "it ends within its header")
        return found, position

    def _is_end(self, tag: int, value: int, length: int, *, is_top: bool) -> bool:
        """Say whether an element ends the item, or the header: its pixels, which are noted."""
        if is_top and tag in _PIXELS:
            self.pixels = PixelPlace(value, -1 if length == _UNDEFINED else length, _PIXELS[tag])
        return is_top or tag == _ITEM_END

    def _element(
        self,
        found: dict[int, Any],
        tag: int,
        letters: bytes,
        value: int,
        length: int,
        explicit: bool,
        wanted: frozenset[int],
    ) -> int:
        """Keep an element if it is wanted; return where the next begins."""
        is_sequence = tag in _SEQUENCES and tag in wanted
        if length == _UNDEFINED or is_sequence:
            # A sequence of unknown representation is written in the implicit encoding.
            inner = explicit and letters != b"UN"
            end = None if length == _UNDEFINED else value + length
            items, position = self._items(value, end, inner, wanted if is_sequence else None)
            if is_sequence:
                found[tag] = items
            return position
        if length and value + length <= self._size:
            found[tag] = self._value(value, length)
        return value + length

    def _items(
        self,
        position: int,
        end: int | None,
        explicit: bool,
        wanted: frozenset[int] | None,
    ) -> tuple[list[dict[int, Any]], int]:
        """Return the items of a sequence, or of packed pixels, and where it ends."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise UnusualEncodingError
        items: list[dict[int, Any]] = []
        while end is None or position < end:
            group, element, low, high, _ = self._head(position)
            tag, length = group << 16 | element, high << 16 | low[1] << 8 | low[0]
            position += 8
            if tag == _SEQUENCE_END and end is None:
                break
            if tag != _ITEM or position > self._size:
                raise UnusualEncodingError
            if length == _UNDEFINED or wanted:
                stop = self._size if length == _UNDEFINED else position + length
                item, position = self._walk(
                    position, stop, explicit=explicit, wanted=wanted or frozenset()
                )
                items.append(item)
            else:
                position += length
        self._depth -= 1
        return items, position
