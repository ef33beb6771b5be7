"""The header of NRRD files, see https://teem.sourceforge.net/nrrd/format.html."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from medssl.io.itk_header import (
    ItkHeader,
    TextFields,
    data_files,
    numbers,
    planar_grid,
    read_lines,
    sizes_of,
    volume_grid,
)
from medssl.io.soundness import Grid, refuse
from medssl.types import Shape

__all__ = ["read_nrrd_header"]

_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(
        ("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"
    ),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16"), "u2"),
    "uint16_t": "u2",
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long"), "i8"),
    **dict.fromkeys(("signed long long int", "int64", "int64_t"), "i8"),
    **dict.fromkeys(("ulonglong", "unsigned long long", "unsigned long long int"), "u8"),
    **dict.fromkeys(("uint64", "uint64_t"), "u8"),
    "float": "f4",
    "double": "f8",
}
_ENCODINGS = {
    **dict.fromkeys(("txt", "text", "ascii"), "ascii"),
    **dict.fromkeys(("gz", "gzip"), "gzip"),
    **dict.fromkeys(("bz2", "bzip2"), "bzip2"),
    "raw": "raw",
    "hex": "hex",
}
_SPACES = {
    **dict.fromkeys(("right-anterior-superior", "ras"), (-1.0, -1.0, 1.0)),
    **dict.fromkeys(("left-anterior-superior", "las"), (1.0, -1.0, 1.0)),
    **dict.fromkeys(("left-posterior-superior", "lps"), (1.0, 1.0, 1.0)),
}
"""Signs that turn a space of the patient into LPS."""

_UNITS = {
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre", "", "none", "???"), 1.0),
    **dict.fromkeys(("m", "meter", "metre"), 1000.0),
    **dict.fromkeys(("cm", "centimeter"), 10.0),
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns"), 0.001),
}
_SPATIAL, _SERIES = {"domain", "space"}, {"time", "list"}
_UNKNOWN = {"", "none", "???", "stub", "scalar"}
Vectors = list[npt.NDArray[np.float64] | None]
"""The direction of each axis, None for one that is not in space."""

_VECTOR = re.compile(r"none|\([^)]*\)", re.IGNORECASE)


def read_nrrd_header(path: Path, file: BinaryIO) -> ItkHeader:
    """Read the header at the start of a NRRD file.

    Raises:
        VolumeReadError: If it contradicts itself or does not tell the place of the voxels.
    """
    fields, listed = _fields(path, file)
    count = _whole(path, fields, "dimension")
    sizes = sizes_of(path, fields.get("sizes", ""), count)
    vectors = _vectors(path, fields, len(sizes))
    spatial, time_axis = _axes(path, fields, sizes, vectors)
    grid, fixes = _grid(path, fields, sizes, vectors, spatial)
    detached = fields.get("data file", fields.get("datafile"))
    encoding = _ENCODINGS.get(fields.get("encoding", "").lower())
    if encoding is None:
        raise refuse(path, "corrupt", "its header names an unknown encoding")
    byte_skip = _whole(path, fields, "byte skip", "byteskip") or 0
    at_end = byte_skip == -1 and encoding == "raw"
    if byte_skip < 0 and not at_end:
        raise refuse(path, "corrupt", "its header skips a number of bytes below zero")
    return ItkHeader(
        sizes=sizes,
        time_axis=time_axis,
        dtype=_dtype(path, fields, encoding),
        grid=grid,
        files=(path,) if detached is None else data_files(path, detached, listed),
        encoding=encoding,
        offset=-1 if at_end else 0 if detached is not None else file.tell(),
        line_skip=max(_whole(path, fields, "line skip", "lineskip") or 0, 0),
        byte_skip=max(byte_skip, 0),
        fixes=fixes,
    )


def _fields(path: Path, file: BinaryIO) -> tuple[TextFields, list[str]]:
    """Return the fields, names in lower case, and the lines after ``data file: LIST``."""
    lines, ended = read_lines(path, file)
    fields: TextFields = {}
    for number, line in enumerate(lines):
        name, separator, value = re.match(r"([^:]*)(:=|:|)(.*)", line, re.DOTALL).groups()  # type: ignore[union-attr]
        if line.startswith("#") or separator != ":":
            continue  # a comment, or a key of somebody's own
        fields[name.strip().lower()] = value.strip()
        if name.strip().lower() in ("data file", "datafile") and value.upper().split()[:1] == [
            "LIST"
        ]:
            return fields, lines[number + 1 :]
    if not ended and not {"data file", "datafile"} & set(fields):
        raise refuse(path, "truncated", "the file ends within its header")
    return fields, []


def _whole(path: Path, fields: TextFields, *names: str) -> int | None:
    text = next((fields[name] for name in names if name in fields), None)
    try:
        return None if text is None else int(text)
    except ValueError as error:
        raise refuse(path, "corrupt", f'its field "{names[0]}" is no whole number') from error


def _dtype(path: Path, fields: TextFields, encoding: str) -> np.dtype[Any]:
    name = fields.get("type", "").lower()
    if name == "block":
        raise refuse(path, "not_scalar", "its voxels are blocks of bytes")
    if name not in _TYPES:
        raise refuse(path, "corrupt", "its header names an unknown type of values")
    dtype = np.dtype(_TYPES[name])
    endian = fields.get("endian", "").lower()
    if dtype.itemsize > 1 and encoding != "ascii":
        if endian not in ("little", "big"):
            raise refuse(path, "corrupt", "its header does not tell the order of bytes")
        dtype = dtype.newbyteorder("<" if endian == "little" else ">")
    return dtype


def _vectors(path: Path, fields: TextFields, count: int) -> Vectors | None:
    """Return the direction of each axis, None for one that is not in space; None if not given."""
    if "space directions" not in fields:
        return None
    words = _VECTOR.findall(fields["space directions"])
    if len(words) != count:
        raise refuse(
            path, "bad_affine", f"its header gives {len(words)} directions for {count} axes"
        )
    vectors: Vectors = []
    for word in words:
        parts = word.strip("()").split(",")
        vector = None if word.lower() == "none" else numbers(path, word.strip("()"), len(parts))
        vectors.append(None if vector is None or np.isnan(vector).all() else vector)
    return _without_time(vectors)


def _without_time(vectors: Vectors) -> Vectors:
    """Return three directions in space where a fourth, and a fourth number, are those of time."""
    whole = np.array([vector for vector in vectors if vector is not None and len(vector) == 4])
    if whole.shape != (4, 4) or whole[:3, 3].any() or whole[3, :3].any():
        return vectors
    return [*whole[:3, :3], None]


def _axes(
    path: Path,
    fields: TextFields,
    sizes: Shape,
    vectors: Vectors | None,
) -> tuple[list[int], int | None]:
    """Return the axes in space, and the one that counts volumes."""
    kinds = fields.get("kinds", "").lower().split() or [""] * len(sizes)
    if len(kinds) != len(sizes):
        raise refuse(path, "corrupt", f"its header gives {len(kinds)} kinds for {len(sizes)} axes")
    if vectors is not None:
        spatial = [axis for axis, vector in enumerate(vectors) if vector is not None]
    else:
        spatial = [a for a, kind in enumerate(kinds) if kind in _SPATIAL | _UNKNOWN][:3]
    others = [axis for axis in range(len(sizes)) if axis not in spatial and sizes[axis] > 1]
    for axis in others:
        is_last = axis == len(sizes) - 1
        if kinds[axis] not in _SERIES and not (kinds[axis] in _SPATIAL | _UNKNOWN and is_last):
            raise refuse(path, "not_scalar", f"it holds {sizes[axis]} values for each voxel")
    if len(others) > 1 or len(spatial) not in (2, 3):
        code = "not_scalar" if len(others) > 1 else "bad_affine"
        raise refuse(path, code, f"its axes, {len(spatial)} of them in space, make no volume")
    return spatial, others[0] if others else None


def _grid(
    path: Path,
    fields: TextFields,
    sizes: Shape,
    vectors: Vectors | None,
    spatial: list[int],
) -> tuple[Grid, tuple[str, ...]]:
    """Return the grid, and the fixes that are not the grid's own."""
    shape = tuple(sizes[axis] for axis in spatial)
    given = [vector for vector in vectors or [] if vector is not None]
    if vectors is None:
        spacing = _spacings(path, fields, len(sizes))[spatial]
        units = _quoted(fields.get("units", ""), len(sizes))
        scale = _scale(path, [units[axis] for axis in spatial])
        axes, origin = np.diag([*(spacing * scale), 1.0][:3]), np.zeros(3)
    else:
        scale = _scale(path, _quoted(fields.get("space units", ""), len(given[0])))
        if any(len(vector) != len(scale) for vector in given):
            raise refuse(path, "bad_affine", "its directions have unlike numbers of parts")
        axes = np.stack(given, axis=1) * scale[:, None]
        origin = _origin(path, fields, len(scale)) * scale
    converted = ("units_converted",) if (scale != 1.0).any() else ()
    if len(shape) == 2:
        lengths = np.linalg.norm(axes, axis=0)
        return planar_grid(path, lengths, shape), ("orientation_unknown", *converted)
    if axes.shape != (3, 3):
        raise refuse(path, "bad_affine", "its three axes lie in a space of other dimensions")
    signs = (
        _SPACES.get(fields.get("space", "").lower().removesuffix("-time"))
        if vectors is not None
        else None
    )
    unknown = () if signs is not None else ("orientation_unknown",)
    turn = np.array(signs or (1.0, 1.0, 1.0))
    return volume_grid(path, axes * turn[:, None], origin * turn, shape), (*unknown, *converted)


def _spacings(path: Path, fields: TextFields, count: int) -> npt.NDArray[np.float64]:
    if "spacings" not in fields:
        raise refuse(path, "no_spacing", "its header gives no voxel size")
    return np.abs(numbers(path, fields["spacings"], count))


def _origin(path: Path, fields: TextFields, count: int) -> npt.NDArray[np.float64]:
    text = fields.get("space origin", "").strip("() ")
    if count == 3 and text.count(",") == 3:  # the fourth number is a time
        text = text.rpartition(",")[0]
    return numbers(path, text, count) if text else np.zeros(count)


def _quoted(text: str, count: int) -> list[str]:
    """Return the units in quotation marks; none where they are not given for every axis."""
    found = re.findall(r'"([^"]*)"|(\?\?\?|none)', text)
    words = [(quoted or "").strip().lower() for quoted, _ in found]
    return words if len(words) == count else [""] * count


def _scale(path: Path, units: list[str]) -> npt.NDArray[np.float64]:
    if any(unit not in _UNITS for unit in units):
        raise refuse(path, "no_spacing", "its header names an unknown unit of length")
    return np.array([_UNITS[unit] for unit in units])
