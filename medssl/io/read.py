"""Any image file to a :class:`~medssl.types.Volume`: the ordered list of readers."""

from __future__ import annotations

from pathlib import Path

from medssl.io.analyze import AnalyzeReader, is_companion
from medssl.io.contract import FileReader, Source, VolumeHeader, VolumeReader
from medssl.io.dicom_series import DicomSeriesReader
from medssl.io.image2d import Image2DReader
from medssl.io.itk import ItkReader
from medssl.io.nifti import NiftiReader
from medssl.io.soundness import refuse
from medssl.types import Volume

__all__ = [
    "FILE_READERS",
    "READERS",
    "VolumeHeader",
    "VolumeReader",
    "find_file_reader",
    "find_reader",
    "is_companion",
    "read_header",
    "read_volume",
]

FILE_READERS: tuple[FileReader, ...] = (
    NiftiReader(),
    AnalyzeReader(),
    ItkReader("nrrd", (".nrrd", ".nhdr")),
    ItkReader("mha", (".mha", ".mhd")),
    Image2DReader(),
)
"""Formats that a name gives away; each file is an image, or a time series."""

READERS: tuple[VolumeReader, ...] = (*FILE_READERS, DicomSeriesReader())
"""Asked in this order; DICOM comes last, because only its first bytes give it away."""


def find_reader(source: Source) -> VolumeReader | None:
    """Return the first reader that claims a source, or None."""
    return next((reader for reader in READERS if reader.can_read(source)), None)


def find_file_reader(path: Path) -> FileReader | None:
    """Return the first reader of single files that claims a file, or None."""
    return next((reader for reader in FILE_READERS if reader.can_read(path)), None)


def read_header(source: Source, part: int | None = None) -> VolumeHeader:
    """Return what is known of an image without reading its voxels.

    Args:
        source: A file, a folder with one DICOM series, or the files of one series.
        part: Which volume of a time series, from 0 on; without it a time series is refused.

    Raises:
        VolumeReadError: If it is no sound image; ``code`` says which fault it has.
    """
    reader = _reader(source)
    return reader.read_header(source) if part is None else reader.read_header(source, part)


def read_volume(source: Source, part: int | None = None) -> Volume:
    """Read an image: voxels, place in space, modality, and what had to be repaired.

    Args:
        source: A file, a folder with one DICOM series, or the files of one series.
        part: Which volume of a time series, from 0 on; without it a time series is refused.

    Raises:
        VolumeReadError: If it is no sound image; ``code`` says which fault it has.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from pathlib import Path
        >>> from medssl.io.nifti import write_nifti
        >>> path = Path(tempfile.mkdtemp()) / "scan.nii.gz"
        >>> write_nifti(path, np.zeros((4, 5, 6), np.int16), np.diag([1.0, 1.0, 2.5, 1.0]))
        >>> read_volume(path).spacing_mm
        (1.0, 1.0, 2.5)
    """
    reader = _reader(source)
    return reader.read(source) if part is None else reader.read(source, part)


def _reader(source: Source) -> VolumeReader:
    path = source if isinstance(source, Path) else source[0]
    try:
        reader = find_reader(source)
    except OSError as error:
        reason = f"the system refuses to read it ({error.strerror or type(error).__name__})"
        raise refuse(path, "unreadable", reason) from error
    if reader is None:
        known = "NIfTI, Analyze, NRRD, MHA, PNG, JPEG, TIFF or DICOM"
        raise refuse(path, "not_an_image", f"expected {known}")
    return reader
