"""What a NIfTI or Analyze header says, checked against itself before anything is made of it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
import numpy.typing as npt

from medssl.io.contract import VolumeHeader
from medssl.io.soundness import Grid, check_size, corner_shift_mm, refuse, sound_grid
from medssl.types import Shape

__all__ = ["Layout", "read_layout"]

_FORM_TOLERANCE_MM = 1.0
_MM_PER_UNIT = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 0.001}
_KINDS: tuple[Any, ...] = (nib.Nifti1Header, nib.Nifti2Header)
_SIZES = tuple(
    (kind.sizeof_hdr).to_bytes(4, order) for kind in _KINDS for order in ("little", "big")
)
_VECTOR_INTENTS = {1003, 1004, 1005, 1006, 1007, 1008, 1009, 1010, 2003, 2004}
"""Matrices, displacements, vectors, points and colours (``NIFTI_INTENT_…`` of nifti1.h)."""

_SPM_TYPES = {130: "int8", 132: "uint16", 136: "uint32"}
"""Types that SPM put into Analyze files, which know only a few."""

Affine = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Layout:
    """Where the voxels lie in their file and what becomes of them.

    Attributes:
        public: What is told of the image.
        grid: Where the voxels lie in space, before and after.
        offset: First byte of the voxels; None where the header leaves it to the file's size.
        smallest_offset: First byte that can hold voxels.
        stored: Type of the stored values.
        slope: Factor to real values, 1 where there is none.
        inter: Summand to real values, 0 where there is none.
    """

    public: VolumeHeader
    grid: Grid
    offset: int | None
    smallest_offset: int
    stored: np.dtype[Any]
    slope: float
    inter: float

    @property
    def frame_bytes(self) -> int:
        """Number of bytes that the voxels of one volume take."""
        return int(np.prod(self.grid.stored_shape, dtype=np.int64)) * self.stored.itemsize

    @property
    def voxel_bytes(self) -> int:
        """Number of bytes that the voxels of all volumes take."""
        return self.frame_bytes * self.public.frames


def read_layout(path: Path, stream: BinaryIO, *, of_pair: bool = False) -> Layout:
    """Read the header at the start of a stream.

    Args:
        path: For messages.
        stream: Decompressed bytes, from the first one.
        of_pair: Whether the voxels are in another file.

    Raises:
        VolumeReadError: If there is no such header, or one that can't be trusted.
    """
    block = stream.read(max(kind.sizeof_hdr for kind in _KINDS))
    kind = _kind(path, block, of_pair=of_pair)
    header = kind(block[: kind.sizeof_hdr], check=False)
    is_nifti = kind is not nib.AnalyzeHeader
    shape, frames = _shape(path, header, is_nifti=is_nifti)
    stored = _stored_dtype(path, header)
    check_size(path, (*shape, frames), stored.itemsize)
    affine, fixes = _affine(path, header, shape) if is_nifti else _plain_affine(path, header, shape)
    grid = sound_grid(path, affine, shape)
    slope, inter = _scaling(header, is_nifti=is_nifti)
    dtype = str(_value_dtype(stored, slope, inter))
    name = "analyze" if of_pair else "nifti"
    fixes = (*fixes, *grid.fixes)
    public = VolumeHeader(name, grid.shape, grid.affine, dtype, fixes=fixes, frames=frames)
    smallest = 0 if of_pair else kind.sizeof_hdr
    offset = _offset(path, header, smallest)
    return Layout(public, grid, offset, smallest, stored, slope, inter)


def _kind(path: Path, block: bytes, *, of_pair: bool) -> Any:
    """Return the class of a header, by its first and its magic bytes."""
    kind = next((kind for kind in _KINDS if kind.may_contain_header(block)), None)
    if kind is None and block[:4] in _SIZES and len(block) < _KINDS[0].sizeof_hdr:
        raise refuse(path, "truncated", "the file ends within its header")
    magic = block[344:348] if kind is nib.Nifti1Header else block[4:8]
    if kind is not None and magic[:2] == (b"ni" if of_pair else b"n+"):
        return kind
    if kind is not None:
        reason = "its header says that its voxels lie elsewhere than in such a file"
        raise refuse(path, "corrupt", reason)
    analyze: Any = nib.AnalyzeHeader
    if of_pair and analyze.may_contain_header(block):
        return analyze
    raise refuse(path, "not_an_image", "it does not start with a NIfTI or Analyze header")


def _shape(path: Path, header: Any, *, is_nifti: bool) -> tuple[Shape, int]:
    """Return two or three sizes and the number of volumes; later sizes of one say nothing."""
    count = int(header["dim"][0])
    if not 1 <= count <= 7:
        raise refuse(path, "not_an_image", f"its header declares {count} dimensions")
    sizes = [int(size) for size in header["dim"][1 : count + 1]]
    if min(sizes) < 1:
        raise refuse(path, "empty", f"its header declares {tuple(sizes)} voxels")
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    is_vector = is_nifti and int(header["intent_code"]) in _VECTOR_INTENTS
    if len(sizes) > 4 or (len(sizes) == 4 and is_vector):
        # NIfTI keeps vectors (displacements, tensors) in the fifth size, time in the fourth.
        raise refuse(path, "not_scalar", f"it holds {tuple(sizes)} values, several for a voxel")
    if len(sizes) == 1:
        sizes.append(1)
    return tuple(sizes[:3]), sizes[3] if len(sizes) > 3 else 1


def _stored_dtype(path: Path, header: Any) -> np.dtype[Any]:
    code = int(header["datatype"])
    if isinstance(header, nib.AnalyzeHeader) and code in _SPM_TYPES:
        stored = np.dtype(_SPM_TYPES[code]).newbyteorder(header.endianness)
    else:
        try:
            stored = header.get_data_dtype()
        except (nib.spatialimages.HeaderDataError, KeyError) as error:
            raise refuse(path, "corrupt", "its header names an unknown type of values") from error
    if stored.names is not None or stored.kind == "c":
        raise refuse(path, "not_scalar", "its voxels are colours or complex numbers")
    if stored.kind not in "iuf":
        raise refuse(path, "corrupt", "its header names a type of values that is never stored")
    return stored


def _affine(path: Path, header: Any, shape: Shape) -> tuple[Affine, tuple[str, ...]]:
    """Return the one place in space that a NIfTI header stands for, in millimetres."""
    _check_zooms(path, header, shape)
    if abs(float(header["pixdim"][0])) != 1.0:
        header["pixdim"][0] = -1.0 if float(header["pixdim"][0]) < 0 else 1.0  # as nifti1.h says
    fixes: tuple[str, ...] = ()
    qform, sform = _form(path, header, "qform", shape), _form(path, header, "sform", shape)
    if sform is None and qform is None:
        affine, fixes = _plain_affine(path, header, shape)
    else:
        affine = sform if sform is not None else np.asarray(qform)
        _check_forms(path, qform, sform, shape)
    try:
        unit = _MM_PER_UNIT[header.get_xyzt_units()[0]]
    except KeyError as error:
        raise refuse(path, "no_spacing", "its header names an unknown unit of length") from error
    if unit != 1.0:
        affine = np.diag([unit, unit, unit, 1.0]) @ affine
        fixes = (*fixes, "units_converted")
    return affine, fixes


def _plain_affine(path: Path, header: Any, shape: Shape) -> tuple[Affine, tuple[str, ...]]:
    """Return a place that voxel sizes alone give: the habit that x runs to the left."""
    zooms = _check_zooms(path, header, shape)
    steps = np.ones(3)
    steps[: len(zooms)] = zooms
    steps[0] = -steps[0]
    affine = np.diag([*steps, 1.0])
    affine[:3, 3] = -steps * (np.array((*shape, 1)[:3]) - 1) / 2
    return affine, ("orientation_unknown",)


def _check_zooms(path: Path, header: Any, shape: Shape) -> Affine:
    """Return the voxel sizes, without their signs."""
    zooms: Affine = np.abs(np.asarray(header["pixdim"][1 : 1 + len(shape)], dtype=np.float64))
    if not np.all(np.isfinite(zooms)) or zooms.min() == 0:
        raise refuse(path, "no_spacing", "its header has a voxel size of zero")
    return zooms


def _form(path: Path, header: Any, name: str, shape: Shape) -> Affine | None:
    if int(header[f"{name}_code"]) <= 0:
        return None
    if name == "qform" and len(shape) == 2 and not float(header["pixdim"][3]) > 0:
        header["pixdim"][3] = 1.0  # a planar image has no third size, a rotation needs one
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
            form = header.get_qform() if name == "qform" else header.get_sform()
    except (ValueError, nib.spatialimages.HeaderDataError) as error:
        raise refuse(path, "bad_affine", f"its {name} is no rotation") from error
    return np.asarray(form, dtype=np.float64)


def _check_forms(path: Path, qform: Affine | None, sform: Affine | None, shape: Shape) -> None:
    if qform is None or sform is None or not np.all(np.isfinite(sform)):
        return
    if len(shape) == 2:
        qform, sform = qform.copy(), sform.copy()
        qform[:, 2] = sform[:, 2] = 0.0
    shift = corner_shift_mm(qform, sform, shape)
    if not shift <= _FORM_TOLERANCE_MM:
        reason = f"its qform and sform put a corner {shift:.1f} mm apart"
        raise refuse(path, "qform_sform_conflict", reason)


def _scaling(header: Any, *, is_nifti: bool) -> tuple[float, float]:
    """Return slope and intercept by the rule of NIfTI: no finite slope, or zero, is no scaling.

    Analyze has no scaling of its own; SPM writes a factor into a field without a meaning.
    """
    slope = float(header["scl_slope" if is_nifti else "funused1"])
    inter = float(header["scl_inter"]) if is_nifti else 0.0
    if slope == 0 or not np.isfinite(slope):
        return 1.0, 0.0
    return slope, inter if np.isfinite(inter) else 0.0


def _value_dtype(stored: np.dtype[Any], slope: float, inter: float) -> np.dtype[Any]:
    native = stored.newbyteorder("=")
    if slope == 1.0 and inter == 0.0:
        return native
    is_shift = slope == 1.0 and inter.is_integer() and abs(inter) < 2**30
    if is_shift and native.kind in "iu" and native.itemsize <= 2:
        return np.dtype(np.int32)
    return np.promote_types(native, np.float32) if native.itemsize <= 2 else np.dtype(np.float64)


def _offset(path: Path, header: Any, smallest: int) -> int | None:
    """Return where the voxels start; None for the zero that some writers leave."""
    offset = float(header["vox_offset"])
    if offset == 0 or (smallest and offset == smallest):
        return None if smallest else 0
    if not offset.is_integer() or not smallest + (4 if smallest else 0) <= offset < 2**62:
        raise refuse(path, "corrupt", "its header puts the voxels where none can be")
    return int(offset)
