"""The elements of a DICOM header as bytes, turned into values when they are asked for."""

from __future__ import annotations

import struct
from typing import Any

from pydicom.charset import convert_encodings, decode_bytes

from medssl.io.dicom_tags import TAGS

__all__ = ["Elements"]

_NUMBERS = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "FL": "f", "FD": "d", "US or SS": "H"}


class Elements:
    """Elements as bytes, turned into values when they are asked for.

    Args:
        raw: Value representation and bytes of each tag, or the items of a sequence.
        encodings: Character sets as DICOM names them.
    """

    __slots__ = ("_encodings", "_raw")

    def __init__(self, raw: dict[int, Any], encodings: Any = None) -> None:
        self._raw = raw
        self._encodings = encodings

    def get(self, name: str) -> Any:
        """Return a value: a number, a text, or a tuple of several; items for a sequence."""
        tag, representation = TAGS[name]
        value = self._raw.get(tag)
        if value is None:
            return None
        if isinstance(value, list):
            return [Elements(item, self._encodings) for item in value]
        if representation == "OB":
            return value
        letter = _NUMBERS.get(representation)
        if letter is not None:
            size = struct.calcsize(f"<{letter}")
            count = len(value) // size
            numbers = struct.unpack(f"<{count}{letter}", value[: count * size])
            return numbers[0] if count == 1 else (numbers or None)
        return self._text(value)

    def _text(self, value: bytes) -> str | tuple[str, ...] | None:
        if value.isascii():
            text = value.decode("ascii")
        else:
            codes = self._encodings or self._raw.get(TAGS["SpecificCharacterSet"][0], b"")
            names = codes.decode("ascii", "replace").strip(" \0").split("\\")
            text = decode_bytes(value, convert_encodings(names), set())
        if "\\" in text:
            return tuple(part.strip(" \0") for part in text.split("\\"))
        return text.strip(" \0") or None
