"""Any image file to a :class:`~medssl.types.Volume`: the ordered list of readers."""

from __future__ import annotations

from pathlib import Path

from medssl.io.contract import Source, VolumeHeader, VolumeReader
from medssl.io.dicom_series import DicomSeriesReader
from medssl.io.image2d import Image2DReader
from medssl.io.itk import ItkReader
from medssl.io.nifti import NiftiReader
from medssl.io.soundness import refuse
from medssl.types import Volume

__all__ = ["READERS", "VolumeHeader", "VolumeReader", "find_reader", "read_header", "read_volume"]

READERS: tuple[VolumeReader, ...] = (
    NiftiReader(),
    ItkReader("nrrd", (".nrrd", ".nhdr")),
    ItkReader("mha", (".mha", ".mhd")),
    Image2DReader(),
    DicomSeriesReader(),
)
"""Asked in this order; DICOM comes last, because only its first bytes give it away."""


def find_reader(source: Source) -> VolumeReader | None:
    """Return the first reader that claims a source, or None."""
    return next((reader for reader in READERS if reader.can_read(source)), None)


def read_header(source: Source) -> VolumeHeader:
    """Return what is known of an image without reading its voxels.

    Args:
        source: A file, a folder with one DICOM series, or the files of one series.

    Raises:
        VolumeReadError: If it is no sound image; ``code`` says which fault it has.
    """
    return _reader(source).read_header(source)


def read_volume(source: Source) -> Volume:
    """Read an image: voxels, place in space, modality, and what had to be repaired.

    Args:
        source: A file, a folder with one DICOM series, or the files of one series.

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
    return _reader(source).read(source)


def _reader(source: Source) -> VolumeReader:
    path = source if isinstance(source, Path) else source[0]
    try:
        reader = find_reader(source)
    except OSError as error:
        reason = f"the system refuses to read it ({error.strerror or type(error).__name__})"
        raise refuse(path, "unreadable", reason) from error
    if reader is None:
        known = "NIfTI, NRRD, MHA, PNG, JPEG, TIFF or DICOM"
        raise refuse(path, "not_an_image", f"expected {known}")
    return reader
