"""NIfTI, by nibabel: one file, and many ways for its header to contradict itself.

The header is nibabel's; the bytes are read here, in one pass to the last one, so that the checksum
at the end of a compressed file is checked and a bomb stops at its declared size.
"""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
import numpy.typing as npt

from medssl.io.atomic import atomic_path
from medssl.io.contract import Source, VolumeHeader, single_file
from medssl.io.nifti_header import Layout, read_layout
from medssl.io.soundness import fill_non_finite, refuse, verdicts
from medssl.types import Volume

__all__ = ["NiftiReader", "write_nifti"]

_TRAILING_BYTES = 2**20


class NiftiReader:
    """Reads ``.nii`` and ``.nii.gz``, version 1 and 2, either byte order."""

    format = "nifti"

    def can_read(self, source: Source) -> bool:
        """Go by the name; what is inside is checked when the file is read."""
        return isinstance(source, Path) and source.name.lower().endswith((".nii", ".nii.gz"))

    def read_header(self, source: Source) -> VolumeHeader:
        """Return shape, place and type.

        Raises:
            VolumeReadError: If the header contradicts itself or is no NIfTI header.
        """
        path = single_file(source)
        with verdicts(path), _open(path) as stream:
            return read_layout(path, stream).public

    def read(self, source: Source) -> Volume:
        """Return the voxels, scaled as the header says.

        Integers stay integers where the scaling is a whole shift.

        Raises:
            VolumeReadError: If the file is cut short or damaged, or its header is.
        """
        path = single_file(source)
        with verdicts(path), _open(path) as stream:
            layout = read_layout(path, stream)
            stream.seek(layout.offset)
            raw = stream.read(layout.voxel_bytes)
            if len(raw) < layout.voxel_bytes:
                raise refuse(path, "truncated", "the file ends before its last voxel")
            _read_to_end(path, stream)
        public = layout.public
        stored = np.frombuffer(raw, layout.stored).reshape(public.shape, order="F")
        data, filled = fill_non_finite(path, _scale(stored, layout))
        return Volume(data, public.affine, fixes=(*public.fixes, *filled))


def _open(path: Path) -> BinaryIO:
    """Open by content: a wrong suffix does not matter, a wrong content does."""
    with path.open("rb") as file:
        start = file.read(4)
    if not start:
        raise refuse(path, "not_an_image", "the file is empty")
    if start[:2] == b"\x1f\x8b":
        return io.BufferedReader(gzip.open(path, "rb"))
    return path.open("rb")


def _read_to_end(path: Path, stream: BinaryIO) -> None:
    left = _TRAILING_BYTES
    while chunk := stream.read(2**16):
        left -= len(chunk)
        if left < 0:
            raise refuse(path, "too_large", "it goes on long after its last voxel")


def _scale(stored: npt.NDArray[Any], layout: Layout) -> npt.NDArray[Any]:
    values = stored.astype(layout.public.dtype)
    if layout.slope != 1.0:
        values *= values.dtype.type(layout.slope)
    if layout.inter != 0.0:
        values += values.dtype.type(layout.inter)
    return values


def write_nifti(path: Path, data: npt.NDArray[Any], affine: npt.NDArray[np.float64]) -> None:
    """Write an image with a clean header: place, spacing in millimetres, nothing else.

    Args:
        path: Ends in ``.nii`` or ``.nii.gz``; its folder exists.
        data: ``(X, Y, Z)`` or ``(X, Y)``; masks as integers. Types NIfTI lacks, or that other tools
            refuse, are widened without loss: bool to uint8, 64-bit integers to int32 where they
            fit, float16 to float32.
        affine: ``(4, 4)``, voxel index to RAS+ millimetres.

    Raises:
        OutputError: If the file can't be written.
        ValueError: If the name has another suffix, or 64-bit integers do not fit.
    """
    if not path.name.endswith((".nii", ".nii.gz")):
        raise ValueError(f'"{path.name}" does not end in .nii or .nii.gz')
    image: Any = nib.Nifti1Image(_storable(data), affine)  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    if not np.allclose(image.get_qform(), affine, atol=1e-3):
        # A quaternion can't hold a shear; two different places in one file would be a trap.
        image.set_qform(None, code=0)
    with atomic_path(path) as temporary:
        nib.save(image, temporary)


def _storable(data: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return ``data`` in a type that every NIfTI reader knows."""
    if data.dtype == np.bool_:
        return data.astype(np.uint8)
    if data.dtype == np.float16:
        return data.astype(np.float32)
    if data.dtype in (np.int64, np.uint64):
        if data.size and (data.min() < -(2**31) or data.max() >= 2**31):
            raise ValueError("64-bit integers beyond the range of int32 can't be written as NIfTI")
        return data.astype(np.int32)
    return data
