"""NRRD and MetaImage (``.nrrd .nhdr .mha .mhd``), by SimpleITK; its LPS space becomes RAS+."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK

from medssl.io.contract import Source, VolumeHeader, plane_affine, single_file
from medssl.io.itk_header import (
    MAX_VOXEL_BYTES,
    TextHeader,
    check_payload,
    read_text_header,
)
from medssl.io.soundness import fill_non_finite, refuse, sound_affine
from medssl.types import Volume

__all__ = ["ItkReader"]

sitk: Any = SimpleITK
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MM_PER_UNIT = {"m": 1000.0, "cm": 10.0, "um": 0.001, "µm": 0.001}
_DTYPES = {
    sitk.sitkInt8: "int8",
    sitk.sitkUInt8: "uint8",
    sitk.sitkInt16: "int16",
    sitk.sitkUInt16: "uint16",
    sitk.sitkInt32: "int32",
    sitk.sitkUInt32: "uint32",
    sitk.sitkInt64: "int64",
    sitk.sitkUInt64: "uint64",
    sitk.sitkFloat32: "float32",
    sitk.sitkFloat64: "float64",
}


class ItkReader:
    """Reads one family of ITK's own formats.

    Args:
        name: ``nrrd`` or ``mha``, as in the column ``format``.
        suffixes: Names of its files end in one of these.
    """

    def __init__(self, name: str, suffixes: tuple[str, ...]) -> None:
        self.format = name
        self.suffixes = suffixes

    def can_read(self, source: Source) -> bool:
        """Go by the name; what is inside is checked when the file is read."""
        return isinstance(source, Path) and source.name.lower().endswith(self.suffixes)

    def read_header(self, source: Source) -> VolumeHeader:
        """Return shape, place and type.

        Raises:
            VolumeReadError: If the header is unsound or leaves out the voxel size.
        """
        path = single_file(source)
        return self._header(path, read_text_header(path))

    def read(self, source: Source) -> Volume:
        """Return the voxels.

        Raises:
            VolumeReadError: If the file is cut short or damaged, or its header is.
        """
        path = single_file(source)
        text = read_text_header(path)
        header = self._header(path, text)
        voxel_bytes = int(np.prod(header.shape)) * np.dtype(header.dtype).itemsize
        check_payload(path, text, voxel_bytes)
        with _safe_name(path) as name:
            try:
                image = _reader(name).Execute()
            except RuntimeError as error:
                raise refuse(path, "corrupt", "its voxels can't be unpacked") from error
        values = np.ascontiguousarray(sitk.GetArrayFromImage(image).T)
        data, filled = fill_non_finite(path, values.reshape(header.shape))
        return Volume(data, header.affine, fixes=(*header.fixes, *filled))

    def _header(self, path: Path, text: TextHeader) -> VolumeHeader:
        if not text.has_spacing:
            raise refuse(path, "no_spacing", "its header gives no voxel size")
        with _safe_name(path) as name:
            reader = _reader(name)
            try:
                reader.ReadImageInformation()
            except RuntimeError as error:
                raise refuse(path, *_why(str(error))) from error
        shape = tuple(int(size) for size in reader.GetSize())
        if reader.GetNumberOfComponents() != 1 or reader.GetPixelID() not in _DTYPES:
            raise refuse(path, "not_scalar", "its voxels are colours, vectors or complex numbers")
        if len(shape) > 3:
            raise refuse(path, "time_series", f"it holds {shape} values, more than one volume")
        dtype = _DTYPES[reader.GetPixelID()]
        if float(np.prod(shape, dtype=np.float64)) * np.dtype(dtype).itemsize > MAX_VOXEL_BYTES:
            raise refuse(path, "too_large", f"its header declares {shape} voxels")
        affine, fixes = _affine(path, reader, text)
        return VolumeHeader(self.format, shape, affine, dtype, fixes=fixes)


def _reader(name: str) -> Any:
    # ITK writes its complaints to the terminal; ours are the verdicts.
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    reader.SetFileName(name)
    return reader


@contextmanager
def _safe_name(path: Path) -> Iterator[str]:
    """Lend a name that ITK can take: it ends the process over one that is not UTF-8."""
    try:
        os.fspath(path).encode("utf-8")
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory() as folder:
            link = Path(folder) / f"image{path.suffix}"
            link.symlink_to(path.absolute())
            yield str(link)
    else:
        yield str(path)


def _why(message: str) -> tuple[str, str]:
    """Return the reason code and sentence for ITK's refusal of a header."""
    if re.search("direction|orthonormal|determinant", message, re.IGNORECASE):
        return "bad_affine", "its axes span no space"
    if re.search("spacing", message, re.IGNORECASE):
        return "no_spacing", "its header has a voxel size of zero or less"
    return "corrupt", "its header can't be read"


def _affine(
    path: Path, reader: Any, text: TextHeader
) -> tuple[npt.NDArray[np.float64], tuple[str, ...]]:
    spacing = np.array(reader.GetSpacing())
    if reader.GetDimension() < 3:
        return plane_affine((float(spacing[0]), float(spacing[1]))), ("orientation_unknown",)
    affine = np.eye(4)
    affine[:3, :3] = np.array(reader.GetDirection()).reshape(3, 3) * spacing
    affine[:3, 3] = reader.GetOrigin()
    fixes: tuple[str, ...] = () if text.has_orientation else ("orientation_unknown",)
    unit = text.fields.get("space units", "").split()[:1]
    scale = _MM_PER_UNIT.get(unit[0].strip('"').lower(), 1.0) if unit else 1.0
    if scale != 1.0:
        affine[:3] *= scale
        fixes = (*fixes, "units_converted")
    affine, straightened = sound_affine(path, _LPS_TO_RAS @ affine, reader.GetSize())
    return affine, (*fixes, *straightened)
