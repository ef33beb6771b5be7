"""What a NIfTI header says, checked against itself before anything is made of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
import numpy.typing as npt

from medssl.io.contract import VolumeHeader
from medssl.io.soundness import corner_shift_mm, refuse, sound_affine
from medssl.types import Shape

__all__ = ["Layout", "read_layout"]

MAX_VOXEL_BYTES = 8 * 2**30
"""A declared size beyond this is a broken or hostile header, not a patient."""

_FORM_TOLERANCE_MM = 1.0
_MM_PER_UNIT = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 0.001}
_KINDS: tuple[Any, ...] = (nib.Nifti1Header, nib.Nifti2Header)
_SIZES = tuple(
    (kind.sizeof_hdr).to_bytes(4, order) for kind in _KINDS for order in ("little", "big")
)


@dataclass(frozen=True)
class Layout:
    """Where the voxels lie in the stream and what becomes of them.

    Attributes:
        public: What is told of the image.
        offset: First byte of the voxels.
        stored: Type of the stored values.
        slope: Factor to real values, 1 where there is none.
        inter: Summand to real values, 0 where there is none.
    """

    public: VolumeHeader
    offset: int
    stored: np.dtype[Any]
    slope: float
    inter: float

    @property
    def voxel_bytes(self) -> int:
        """Number of bytes that the voxels take."""
        return int(np.prod(self.public.shape, dtype=np.int64)) * self.stored.itemsize


def read_layout(path: Path, stream: BinaryIO) -> Layout:
    """Read the header at the start of a stream.

    Args:
        path: For messages.
        stream: Decompressed bytes, from the first one.

    Raises:
        VolumeReadError: If there is no NIfTI header, or one that can't be trusted.
    """
    block = stream.read(max(kind.sizeof_hdr for kind in _KINDS))
    kind = next((kind for kind in _KINDS if kind.may_contain_header(block)), None)
    if kind is None:
        cut = block[:4] in _SIZES and len(block) < _KINDS[0].sizeof_hdr
        code = "truncated" if cut else "not_an_image"
        raise refuse(path, code, "it does not start with a NIfTI header")
    header = kind(block[: kind.sizeof_hdr], check=False)
    shape = _shape(path, header)
    stored = _stored_dtype(path, header)
    if float(np.prod(shape, dtype=np.float64)) * stored.itemsize > MAX_VOXEL_BYTES:
        raise refuse(path, "too_large", f"its header declares {shape} voxels")
    affine, fixes = _affine(path, header, shape)
    slope, inter = _scaling(header)
    dtype = str(_value_dtype(stored, slope, inter))
    public = VolumeHeader("nifti", shape, affine, dtype, fixes=fixes)
    offset = max(int(header["vox_offset"]), kind.sizeof_hdr)
    return Layout(public, offset, stored, slope, inter)


def _shape(path: Path, header: Any) -> Shape:
    """Return two or three sizes; sizes of one after the third say nothing."""
    count = int(header["dim"][0])
    if not 1 <= count <= 7:
        raise refuse(path, "not_an_image", f"its header declares {count} dimensions")
    sizes = [int(size) for size in header["dim"][1 : count + 1]]
    if min(sizes) < 1:
        raise refuse(path, "empty", f"its header declares {tuple(sizes)} voxels")
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    if len(sizes) > 3:
        # NIfTI keeps vectors (displacements, tensors) in the fifth size, time in the fourth.
        code = "not_scalar" if len(sizes) > 4 and sizes[3] == 1 else "time_series"
        raise refuse(path, code, f"it holds {tuple(sizes)} values, more than one volume")
    return tuple((*sizes, 1)[: max(2, len(sizes))])


def _stored_dtype(path: Path, header: Any) -> np.dtype[Any]:
    try:
        stored: np.dtype[Any] = header.get_data_dtype()
    except (nib.spatialimages.HeaderDataError, KeyError) as error:
        raise refuse(path, "corrupt", "its header names an unknown type of values") from error
    if stored.names is not None or stored.kind not in "iuf":
        raise refuse(path, "not_scalar", "its voxels are colours or complex numbers")
    return stored


def _affine(
    path: Path, header: Any, shape: Shape
) -> tuple[npt.NDArray[np.float64], tuple[str, ...]]:
    """Return the one place in space that the header stands for, and the fixes it took."""
    zooms = np.abs(np.asarray(header["pixdim"][1 : 1 + len(shape)], dtype=np.float64))
    if not np.all(np.isfinite(zooms)) or zooms.min() == 0:
        raise refuse(path, "no_spacing", "its header has a voxel size of zero")
    fixes: tuple[str, ...] = ()
    qform, sform = _form(path, header, "qform"), _form(path, header, "sform")
    if sform is None and qform is None:
        affine = np.asarray(header.get_base_affine(), dtype=np.float64)
        fixes = ("orientation_unknown",)
    else:
        affine = sform if sform is not None else np.asarray(qform)
        _check_forms(path, qform, sform, shape)
    unit = _MM_PER_UNIT[header.get_xyzt_units()[0]]
    if unit != 1.0:
        affine = np.diag([unit, unit, unit, 1.0]) @ affine
        fixes = (*fixes, "units_converted")
    affine, straightened = sound_affine(path, affine, shape)
    return affine, (*fixes, *straightened)


def _form(path: Path, header: Any, name: str) -> npt.NDArray[np.float64] | None:
    if int(header[f"{name}_code"]) <= 0:
        return None
    try:
        form = header.get_qform() if name == "qform" else header.get_sform()
    except (ValueError, nib.spatialimages.HeaderDataError) as error:
        raise refuse(path, "bad_affine", f"its {name} is no rotation ({error})") from error
    return np.asarray(form, dtype=np.float64)


def _check_forms(
    path: Path,
    qform: npt.NDArray[np.float64] | None,
    sform: npt.NDArray[np.float64] | None,
    shape: Shape,
) -> None:
    if qform is None or sform is None or not np.all(np.isfinite(sform)):
        return
    shift = corner_shift_mm(qform, sform, shape)
    if not shift <= _FORM_TOLERANCE_MM:
        reason = f"its qform and sform put a corner {shift:.1f} mm apart"
        raise refuse(path, "qform_sform_conflict", reason)


def _scaling(header: Any) -> tuple[float, float]:
    """Return slope and intercept by the rule of NIfTI: no finite slope, or zero, is no scaling."""
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not np.isfinite(slope):
        return 1.0, 0.0
    return slope, inter if np.isfinite(inter) else 0.0


def _value_dtype(stored: np.dtype[Any], slope: float, inter: float) -> np.dtype[Any]:
    native = stored.newbyteorder("=")
    if slope == 1.0 and inter == 0.0:
        return native
    if slope == 1.0 and inter.is_integer() and native.kind in "iu" and native.itemsize <= 2:
        return np.dtype(np.int32)
    return np.promote_types(native, np.float32) if native.itemsize <= 2 else np.dtype(np.float64)
