"""What every reader of images promises, whatever the format."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from medssl.io.soundness import refuse, verdicts
from medssl.types import Modality, Shape, Volume

__all__ = [
    "FileReader",
    "ReadRules",
    "Source",
    "VolumeHeader",
    "VolumeReader",
    "choose_part",
    "plane_affine",
    "single_file",
]

Source = Path | Sequence[Path]
"""A file, a folder that holds one DICOM series, or the files of one series."""


@dataclass(frozen=True)
class ReadRules:
    """What the user wants done where a file leaves a choice.

    Attributes:
        time_series: What becomes of many volumes of one place: refused, the first taken, or each
            taken as a volume of its own.
        fill_missing: Up to this many missing slices of a series are interpolated.
    """

    time_series: Literal["hold", "first", "split"] = "hold"
    fill_missing: int = 0


@dataclass(frozen=True)
class VolumeHeader:
    """What is known of an image before its voxels are read.

    Attributes:
        format: The reader's name, as in the column ``format`` of a cohort.
        shape: ``(X, Y, Z)`` or, for a planar image, ``(X, Y)``.
        affine: ``(4, 4)``, voxel index to RAS+ millimetres.
        dtype: Type of the values once read, as numpy spells it.
        modality: What made the image, as far as the file says.
        fixes: Repairs that reading makes, already known from the header.
        frames: How many volumes of this place there are: more than one for a time series.
    """

    format: str
    shape: Shape
    affine: npt.NDArray[np.float64]
    dtype: str
    modality: Modality = "unknown"
    fixes: tuple[str, ...] = ()
    frames: int = 1


class VolumeReader(Protocol):
    """One family of file formats.

    Reading a header never touches the voxels. A file that is not a sound image raises
    :class:`~medssl.errors.VolumeReadError` whose ``code`` is the reason of the quarantine table.
    """

    @property
    def format(self) -> str:
        """Name of the format in tables and messages."""

    def can_read(self, source: Source) -> bool:
        """Say whether this reader is the one; looks at names and first bytes only."""

    def count(self, source: Source) -> int:
        """Return how many volumes there are: more than one for a time series."""

    def read_header(self, source: Source, part: int | None = None) -> VolumeHeader:
        """Return shape, place and type.

        Args:
            source: What to read.
            part: Which of several volumes, from 0 on; without it a time series is refused.
        """

    def read(self, source: Source, part: int | None = None) -> Volume:
        """Return the voxels, checked to the last byte.

        Args:
            source: What to read.
            part: Which of several volumes, from 0 on; without it a time series is refused.
        """


class FileReader(VolumeReader, Protocol):
    """A reader of formats where one file is one image, or one time series."""

    def read_each(self, source: Source) -> Iterator[Volume]:
        """Yield every volume in order, in one pass; a fault anywhere ends it with an error."""


def choose_part(path: Path, frames: int, part: int | None) -> tuple[int, tuple[str, ...]]:
    """Return the number of the volume to be read, and the fix that it is one of several.

    Raises:
        VolumeReadError: With ``time_series`` where there are several and none was chosen.
    """
    if part is None:
        if frames > 1:
            raise refuse(path, "time_series", f"it holds {frames} volumes of one place")
        return 0, ()
    if not 0 <= part < frames:
        raise refuse(path, "unreadable", f"it holds {frames} volumes, not number {part}")
    return part, ("frames_split",) if frames > 1 else ()


def single_file(source: Source) -> Path:
    """Return the one file that a source is.

    Raises:
        TypeError: If it is a list of files: only DICOM series are.
        VolumeReadError: If it is no regular file: reading from a pipe would wait for ever.
    """
    if not isinstance(source, Path):
        raise TypeError("only a DICOM series is a list of files; this format is one file")
    with verdicts(source):
        if not stat.S_ISREG(source.stat().st_mode):
            raise refuse(source, "unreadable", "it is no regular file")
    return source


def plane_affine(spacing_mm: tuple[float, float]) -> npt.NDArray[np.float64]:
    """Return the affine of a planar image whose columns run to the left and rows to the feet side.

    That is the LPS habit of DICOM and ITK for images that do not say how they lie.
    """
    return np.diag([-spacing_mm[0], -spacing_mm[1], 1.0, 1.0])
