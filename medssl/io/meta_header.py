"""The header of MetaImage files, see https://itk.org/Wiki/ITK/MetaIO/Documentation."""

from __future__ import annotations

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
from medssl.types import Modality, Shape

__all__ = ["read_meta_header"]

_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_MODALITIES: dict[str, Modality] = {"MET_MOD_CT": "ct", "MET_MOD_MR": "mr"}
_LAST = "ElementDataFile"


def read_meta_header(path: Path, file: BinaryIO) -> ItkHeader:
    """Read the header at the start of a MetaImage file.

    Raises:
        VolumeReadError: If it contradicts itself or does not tell the place of the voxels.
    """
    lines, ended = read_lines(path, file, _LAST)
    if not ended:
        raise refuse(path, "corrupt", "its header does not say where the voxels are")
    pairs = [line.partition("=") for line in lines]
    fields = {name.strip().lower(): value.strip() for name, _, value in pairs}
    where = fields[_LAST.lower()]
    is_local = where.upper() == "LOCAL"
    start = file.tell()
    listed, _ = read_lines(path, file) if where.upper().split()[:1] == ["LIST"] else ([], True)
    sizes = _sizes(path, fields)
    grid, fixes = _grid(path, fields, sizes)
    if _whole(path, fields, "elementnumberofchannels", 1) != 1:
        raise refuse(path, "not_scalar", "its voxels are colours or vectors")
    return ItkHeader(
        sizes=sizes,
        time_axis=3 if len(sizes) > 3 and sizes[3] > 1 else None,
        dtype=_dtype(path, fields),
        grid=grid,
        files=(path,) if is_local else data_files(path, where, listed),
        encoding=_encoding(fields),
        offset=start if is_local else _whole(path, fields, "headersize", 0),
        modality=_MODALITIES.get(fields.get("modality", ""), "unknown"),
        fixes=fixes,
    )


def _sizes(path: Path, fields: TextFields) -> Shape:
    sizes = sizes_of(path, fields.get("dimsize", ""), _whole(path, fields, "ndims", 0) or None)
    if len(sizes) > 4 and max(sizes[4:]) > 1:
        raise refuse(path, "not_scalar", f"it holds {sizes} values, several for a voxel")
    if len(sizes) < 2:
        raise refuse(path, "bad_affine", "its voxels lie in a row and make no volume")
    return sizes


def _encoding(fields: TextFields) -> str:
    if _is_true(fields.get("compresseddata", "")):
        return "zlib"
    return "raw" if _is_true(fields.get("binarydata", "true")) else "ascii"


def _is_true(text: str) -> bool:
    return text[:1].upper() in ("T", "1", "Y")


def _whole(path: Path, fields: TextFields, name: str, default: int) -> int:
    try:
        return int(fields.get(name, default))
    except ValueError as error:
        raise refuse(path, "corrupt", f'its field "{name}" is no whole number') from error


def _dtype(path: Path, fields: TextFields) -> np.dtype[Any]:
    name = fields.get("elementtype", "").upper()
    if name.endswith("_ARRAY"):
        raise refuse(path, "not_scalar", "its voxels are colours or vectors")
    if name not in _TYPES:
        raise refuse(path, "corrupt", "its header names an unknown type of values")
    big = fields.get("binarydatabyteordermsb", fields.get("elementbyteordermsb", "False"))
    return np.dtype(_TYPES[name]).newbyteorder(">" if _is_true(big) else "<")


def _grid(path: Path, fields: TextFields, sizes: Shape) -> tuple[Grid, tuple[str, ...]]:
    """Return the grid, and the fixes that are not the grid's own."""
    count = len(sizes)
    size = fields.get("elementspacing", fields.get("elementsize"))
    if size is None:
        raise refuse(path, "no_spacing", "its header gives no voxel size")
    spacing = numbers(path, size, count)
    if not spacing[:3].min() > 0:
        raise refuse(path, "no_spacing", "its header has a voxel size of zero or less")
    if count == 2:
        return planar_grid(path, spacing, sizes), ("orientation_unknown",)
    matrix = _first(fields, "transformmatrix", "orientation", "rotation")
    origin = _first(fields, "offset", "position", "origin")
    axes = np.eye(3) if matrix is None else numbers(path, matrix, count**2).reshape(count, count)
    start = np.zeros(3) if origin is None else numbers(path, origin, count)
    if count > 3 and matrix is not None and not _is_apart(axes):
        raise refuse(path, "bad_affine", "its axes mix space and time")
    unknown = () if matrix is not None else ("orientation_unknown",)
    # The file lists the directions one after the other: rows here, columns of an affine.
    steps = axes[:3, :3].T * spacing[:3]
    return volume_grid(path, steps, start[:3], sizes[:3]), unknown


def _is_apart(axes: npt.NDArray[np.float64]) -> bool:
    return not axes[:3, 3:].any() and not axes[3:, :3].any()


def _first(fields: TextFields, *names: str) -> str | None:
    return next((fields[name] for name in names if name in fields), None)
