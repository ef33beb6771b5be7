"""NIfTI, by nibabel: one file, and many ways for its header to contradict itself.

The header is nibabel's; the bytes are read here, in one pass to the last one, so that the checksum
at the end of a compressed file is checked and a bomb stops at its declared size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from medssl.io.atomic import atomic_path
from medssl.io.contract import Source, VolumeHeader, choose_part, single_file
from medssl.io.nifti_header import Layout, read_layout
from medssl.io.nifti_voxels import open_stream, read_frames
from medssl.io.soundness import verdicts
from medssl.types import Volume

__all__ = ["NiftiReader", "write_nifti"]


class NiftiReader:
    """Reads ``.nii`` and ``.nii.gz``, version 1 and 2, either byte order."""

    format = "nifti"

    def can_read(self, source: Source) -> bool:
        """Go by the name; what is inside is checked when the file is read."""
        return isinstance(source, Path) and source.name.lower().endswith((".nii", ".nii.gz"))

    def count(self, source: Source) -> int:
        """Return how many volumes there are: the fourth size."""
        return _layout(single_file(source)).public.frames

    def read_header(self, source: Source, part: int | None = None) -> VolumeHeader:
        """Return shape, place and type.

        Raises:
            VolumeReadError: If the header contradicts itself or is no NIfTI header.
        """
        path = single_file(source)
        header = _layout(path).public
        _, fixes = choose_part(path, header.frames, part)
        return replace(header, fixes=(*header.fixes, *fixes))

    def read(self, source: Source, part: int | None = None) -> Volume:
        """Return the voxels, scaled as the header says.

        Integers stay integers where the scaling is a whole shift.

        Raises:
            VolumeReadError: If the file is cut short or damaged, or its header is.
        """
        path = single_file(source)
        layout = _layout(path)
        chosen, _ = choose_part(path, layout.public.frames, part)
        (volume,) = read_frames(path, path, layout, range(chosen, chosen + 1))
        return volume

    def read_each(self, source: Source) -> Iterator[Volume]:
        """Yield every volume in order.

        Raises:
            VolumeReadError: If the file is cut short or damaged, or its header is.
        """
        path = single_file(source)
        layout = _layout(path)
        yield from read_frames(path, path, layout, range(layout.public.frames))


def _layout(path: Path) -> Layout:
    with verdicts(path), open_stream(path) as stream:
        return read_layout(path, stream)


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
