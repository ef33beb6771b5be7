"""What the text headers of NRRD and MetaImage have in common: lines, neighbours, the grid."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from medssl.io.contract import plane_affine
from medssl.io.soundness import Grid, refuse, sound_grid
from medssl.types import Modality, Shape

__all__ = [
    "LPS_TO_RAS",
    "ItkHeader",
    "TextFields",
    "data_files",
    "numbers",
    "planar_grid",
    "read_lines",
    "sizes_of",
    "volume_grid",
]

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

_LONGEST_HEADER = 2**20
_MOST_FILES = 20_000

TextFields = dict[str, str]


@dataclass(frozen=True)
class ItkHeader:
    """What a header says of the voxels and of their place.

    Attributes:
        sizes: Of all axes, the fastest first.
        time_axis: The axis that counts volumes, or None.
        dtype: Type of a stored value, with its byte order.
        grid: Where the voxels of one volume lie.
        files: Where the voxels are, each file with the same share of them.
        encoding: ``raw``, ``gzip``, ``zlib``, ``bzip2``, ``ascii`` or ``hex``.
        offset: First byte of the voxels in each file, or -1 where they are its last bytes.
        line_skip: Lines to pass over after the offset.
        byte_skip: Unpacked bytes to pass over.
        modality: What made the image.
        fixes: Repairs known from the header.
    """

    sizes: Shape
    time_axis: int | None
    dtype: np.dtype[Any]
    grid: Grid
    files: tuple[Path, ...]
    encoding: str
    offset: int
    line_skip: int = 0
    byte_skip: int = 0
    modality: Modality = "unknown"
    fixes: tuple[str, ...] = field(default=())

    @property
    def frames(self) -> int:
        """How many volumes there are."""
        return 1 if self.time_axis is None else self.sizes[self.time_axis]


def read_lines(path: Path, file: BinaryIO, last: str = "") -> tuple[list[str], bool]:
    """Return the lines of a header; the file is left where the next one starts.

    Args:
        path: For messages.
        file: At the start of the header.
        last: The field that ends the header; an empty line does where there is none.

    Returns:
        The lines, and whether the header ended as it should rather than with the file.
    """
    lines: list[str] = []
    while file.tell() < _LONGEST_HEADER:
        raw = file.readline(_LONGEST_HEADER)
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if not raw or (not last and not line):
            return lines, bool(raw)
        lines.append(line)
        if last and line.partition("=")[0].strip() == last:
            return lines, True
    raise refuse(path, "corrupt", "its header has no end")


def sizes_of(path: Path, text: str, count: int | None) -> Shape:
    """Return the sizes that a field lists.

    Raises:
        VolumeReadError: If they are no numbers, as many as there are axes, from one on.
    """
    try:
        sizes = tuple(int(word) for word in text.split())
    except ValueError as error:
        raise refuse(path, "corrupt", "its header gives sizes that are not numbers") from error
    if count is not None and len(sizes) != count:
        raise refuse(path, "corrupt", f"its header gives {len(sizes)} sizes for {count} axes")
    if not sizes or min(sizes) < 1:
        raise refuse(path, "empty", f"its header declares {sizes} voxels")
    return sizes


def numbers(path: Path, text: str, count: int) -> npt.NDArray[np.float64]:
    """Return the numbers of a field.

    Raises:
        VolumeReadError: With ``bad_affine`` if there are not ``count`` of them.
    """
    try:
        found = np.array([float(word) for word in text.replace(",", " ").split()])
    except ValueError as error:
        reason = "its header gives a place in space that is not in numbers"
        raise refuse(path, "bad_affine", reason) from error
    if len(found) != count:
        reason = f"its header gives {len(found)} numbers where {count} tell the place in space"
        raise refuse(path, "bad_affine", reason)
    return found


def volume_grid(
    path: Path,
    axes_lps: npt.NDArray[np.float64],
    origin_lps: npt.NDArray[np.float64],
    shape: Shape,
) -> Grid:
    """Return the grid of a volume from its axes in millimetres and its first voxel, both LPS."""
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes_lps, origin_lps
    return sound_grid(path, LPS_TO_RAS @ affine, shape)


def planar_grid(path: Path, spacing: npt.NDArray[np.float64], shape: Shape) -> Grid:
    """Return the grid of a planar image, which keeps its spacing and no place."""
    return sound_grid(path, plane_affine((float(spacing[0]), float(spacing[1]))), shape)


def data_files(path: Path, words: str, listed: list[str]) -> tuple[Path, ...]:
    """Return the files of voxels that a header names; they lie beside it or below.

    Args:
        path: The header.
        words: A name, ``LIST``, or a pattern such as ``slice%03d.raw 1 20 1``.
        listed: The lines after ``LIST``.

    Raises:
        VolumeReadError: If a file lies elsewhere: a header must not make its reader open anything.
    """
    if words.upper().split()[:1] == ["LIST"]:
        names = [line.strip() for line in listed if line.strip()]
    elif "%" in words:
        names = _numbered(path, words)
    else:
        names = [words]
    if not names:
        raise refuse(path, "corrupt", "its header names no file of voxels")
    return tuple(_below(path, name) for name in names)


def _numbered(path: Path, words: str) -> list[str]:
    pattern, *rest = words.split()
    try:
        first, last, *step = [int(word) for word in rest[:3]]
        count = range(first, last + 1, *(step or [1]))
        if len(count) > _MOST_FILES:
            raise ValueError("too many")
        return [pattern % number for number in count]
    except (ValueError, TypeError) as error:
        reason = "its header names its files of voxels by a pattern that can't be read"
        raise refuse(path, "corrupt", reason) from error


def _below(path: Path, name: str) -> Path:
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or ":" in name or "\0" in name:
        raise refuse(path, "unreadable", "its voxels lie in another folder; put them beside it")
    return path.parent / parts
