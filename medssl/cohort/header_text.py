"""DICOM headers as text: what a journal keeps of a file, with salted hashes in place of names.

Only primitives are written, as JSON; a journal is no place for pickles.
"""

from __future__ import annotations

import functools
import hashlib
import json
import operator
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from medssl.cohort.identity import pseudonym, real_patient_id
from medssl.cohort.makers import maker
from medssl.io.dicom_format import PixelFormat
from medssl.io.dicom_frames import Frame
from medssl.io.dicom_headers import DicomHeader

Rule = Callable[[Any, bytes], Any]
Rules = list[tuple[int, Rule]]

__all__ = ["LAYOUT", "from_text", "nameless_text"]

_HEADER = [field.name for field in fields(DicomHeader) if field.name not in ("path", "frames")]
_FRAME = [field.name for field in fields(Frame) if field.name != "path"]
LAYOUT = ",".join((*_HEADER, *PixelFormat._fields, *_FRAME))
"""What the text holds, in order; text of another layout is not read."""

_NUMBERS = re.compile(r"[-+0-9.eE\\ ,()\[\]]{0,60}")
_STANDARD_UID = "1.2.840.10008."
_WORDS = {
    *("CT", "MR", "PT", "NM", "US", "CR", "DX", "MG", "RG", "RF", "PX", "IO", "XA", "IVUS", "OCT"),
    *("OP", "OPT", "SM", "ES", "XC", "GM", "BI", "SC", "OT", "SR", "SEG", "REG", "RWV", "RTSTRUCT"),
    *("RTPLAN", "RTDOSE", "RTIMAGE", "RTRECORD", "PR", "KO", "DOC", "FID", "ECG", "HD", "EPS"),
    *("AU", "M3D", "TG", "MA"),
    *("ORIGINAL", "DERIVED", "PRIMARY", "SECONDARY", "AXIAL", "LOCALIZER", "SCOUT", "SURVEY"),
    *("MOSAIC", "VOLUME", "MPR", "MIP", "MINIP", "MIN IP", "MIP_SUB", "PROJECTION IMAGE", "VRT"),
    *("REFORMATTED", "CPR", "CURVED", "CSA MPR", "VOLUME RENDERED", "3D RENDERING", "OTHER"),
    *("NONE", "MIXED", "RESAMPLED", "MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "ARGB"),
    *("YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT", "CMYK", "HSV"),
    *("YBR_FULL_RGB", "PALETTE COLOR"),
}
"""Words that decide something; any other text in their place may be a person's."""


def nameless_text(header: DicomHeader, salt: bytes) -> tuple[str, str]:
    """Return a header as text, without its place, and without what may name someone.

    Hashes stand for identifiers, times, and words that are not known: all that is ever asked of
    them is whether two are the same, which hashes answer as well.

    Returns:
        The hash of the series, empty where the file does not say, and the text.
    """
    own = _shown(_header_values(header), _OF_HEADER, salt)
    frames = [_shown(_frame_values(frame), _OF_FRAME, salt) for frame in header.frames]
    text = json.dumps([*own, frames], separators=(",", ":"))
    return _name(header.series, salt), text


def _shown(values: tuple[Any, ...], rules: Rules, salt: bytes) -> list[Any]:
    """Return what a journal may hold of some fields."""
    shown = list(values)
    for place, rule in rules:
        if shown[place]:
            shown[place] = rule(shown[place], salt)
    return shown


@functools.lru_cache(4096)
def _name(value: str, salt: bytes) -> str:
    return pseudonym(salt, value)


@functools.lru_cache(4096)
def _patient(value: str, salt: bytes) -> str:
    return pseudonym(salt, real_patient_id(value))


@functools.lru_cache(4096)
def _maker(value: str, salt: bytes) -> str:  # noqa: ARG001 - a rule like the others
    return maker(value)


def _mark(value: str, salt: bytes) -> str:
    """Return a hash of what only the journal compares and no two files share: a quicker one."""
    return hashlib.sha256(salt + os.fsencode(value)).hexdigest()[:16]


def _uid(value: str, salt: bytes) -> str:
    return value if value.startswith(_STANDARD_UID) else _name(value, salt)


def _each_word(value: tuple[str, ...], salt: bytes) -> tuple[str, ...]:
    return tuple(_word(word, salt) for word in value)


@functools.lru_cache(4096)
def _words(value: str, salt: bytes) -> str:
    return "\\".join(_word(word, salt) for word in value.split("\\"))


@functools.lru_cache(4096)
def _word(word: str, salt: bytes) -> str:
    return word if word.upper() in _WORDS or _NUMBERS.fullmatch(word) else pseudonym(salt, word)


def _placed(names: Sequence[str], rules: Mapping[str, Rule]) -> Rules:
    return [(names.index(name), rule) for name, rule in rules.items()]


_header_values = operator.attrgetter(*_HEADER)
_frame_values = operator.attrgetter(*_FRAME)
_OF_HEADER = _placed(
    _HEADER,
    {
        "patient": _patient,
        "study": _name,
        "series": _name,
        "instance": _mark,
        "manufacturer": _maker,
        "sop_class": _uid,
        "image_type": _each_word,
        "modality": _words,
        "photometric": _words,
    },
)
_TEXTS_OF_FRAME = (
    *("echo", "b_value", "direction", "inversion", "image_type", "kernel", "stack"),
    *("acquisition", "temporal"),
)
_OF_FRAME = _placed(_FRAME, {"clock": _mark, **dict.fromkeys(_TEXTS_OF_FRAME, _words)})


def from_text(text: str, path: Path) -> DicomHeader:
    """Return the header of a file that :func:`nameless_text` wrote."""
    *values, frames = json.loads(text)
    return DicomHeader(
        path=path,
        frames=tuple(
            Frame(path=path, **dict(zip(_FRAME, map(_frozen, frame), strict=True)))
            for frame in frames
        ),
        **dict(zip(_HEADER, map(_frozen, values), strict=True)),
    )


def _frozen(value: Any) -> Any:
    """Return lists of JSON as the tuples that they were."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
