"""What makes an image usable whatever its format: a place in space and finite values.

Each check either passes, repairs and says so with a fix code, or raises with a reason code.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medssl.errors import VolumeReadError
from medssl.io.shear import straight_axes, straight_grid, straighten
from medssl.types import Shape

__all__ = [
    "MAX_VOXEL_BYTES",
    "SPACING_RANGE_MM",
    "Grid",
    "check_size",
    "corner_shift_mm",
    "fill_non_finite",
    "refuse",
    "sound_affine",
    "sound_grid",
    "verdicts",
]

SPACING_RANGE_MM = (0.01, 30.0)
"""Beyond these no clinical scanner makes voxels; a value there is a wrong unit."""

MAX_VOXEL_BYTES = 8 * 2**30
"""A declared size beyond this is a broken or hostile header, not a patient."""

_NEGLIGIBLE_MM = 0.01
_REPAIRABLE_MM = 0.5
_NON_FINITE_LIMIT = 0.01
_MOST_GROWTH = 4.0
_FLATTEST = 0.3
"""Volume of the box that three unit axes span; a gantry tilted by 30 degrees leaves 0.87."""


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a file lie, and where those of its volume will.

    Attributes:
        shape: Of the volume.
        affine: Of the volume: axes at right angles.
        fixes: What it took.
        stored_shape: Of the file.
        stored_affine: Of the file.
    """

    shape: Shape
    affine: npt.NDArray[np.float64]
    fixes: tuple[str, ...]
    stored_shape: Shape
    stored_affine: npt.NDArray[np.float64]

    def fit(self, data: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Put the values of the file on the grid of the volume."""
        if "shear_resampled" not in self.fixes:
            return data
        return straighten(data, self.stored_affine, self.shape, self.affine)


def refuse(path: Path, code: str, reason: str) -> VolumeReadError:
    """Return the error for a file that can't be used, naming it as the user knows it.

    Args:
        path: The file; only its name is told.
        code: The reason code of the quarantine table.
        reason: What is wrong with it, as the rest of a sentence.
    """
    name = path.name.encode("utf-8", "backslashreplace").decode()
    return VolumeReadError(f'"{name}" can\'t be used: {reason}', code=code, detail=reason)


@contextmanager
def verdicts(path: Path) -> Iterator[None]:
    """Turn the errors of the system and of decompression into a verdict on the file.

    Raises:
        VolumeReadError: With ``truncated``, ``corrupt`` or ``unreadable``.
    """
    try:
        yield
    except VolumeReadError:
        raise
    except EOFError as error:
        raise refuse(path, "truncated", "its compressed data stops halfway") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        reason = "its compressed data is damaged (the checksum does not match)"
        raise refuse(path, "corrupt", reason) from error
    except OSError as error:
        if error.errno is None:  # not the system's: a decompressor's
            raise refuse(path, "corrupt", "its compressed data is damaged") from error
        reason = f"the system refuses to read it ({error.strerror or type(error).__name__})"
        raise refuse(path, "unreadable", reason) from error


def corner_shift_mm(
    affine: npt.NDArray[np.float64], other: npt.NDArray[np.float64], shape: Shape
) -> float:
    """Return how far apart two affines put the worst corner of one grid, in millimetres."""
    ends = [(0.0, float(max(size - 1, 0))) for size in (*shape, 1, 1)[:3]]
    corners = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3)
    shift = (affine[:3, :3] - other[:3, :3]) @ corners.T + (affine[:3, 3:] - other[:3, 3:])
    return float(np.linalg.norm(shift, axis=0).max())


def sound_affine(
    path: Path, affine: npt.NDArray[np.float64], shape: Shape
) -> tuple[npt.NDArray[np.float64], tuple[str, ...]]:
    """Return an affine with axes at right angles, and the fixes it took.

    Axes that lean by less than half a millimetre over the whole grid are straightened about the
    grid's centre.

    Raises:
        VolumeReadError: With ``bad_affine`` or ``no_spacing``.
    """
    straight, shift = _straightened(path, affine, shape)
    if shift <= _NEGLIGIBLE_MM:
        return affine, ()
    if shift <= _REPAIRABLE_MM:
        return straight, ("affine_orthonormalised",)
    reason = f"its axes are not at right angles (by {shift:.1f} mm at a corner); resample it first"
    raise refuse(path, "bad_affine", reason)


def sound_grid(path: Path, affine: npt.NDArray[np.float64], shape: Shape) -> Grid:
    """Return the grid of a volume whose axes are at right angles, and the fixes it takes.

    A slight lean is straightened, as in :func:`sound_affine`; for a real one the grid is another,
    which :meth:`Grid.fit` resamples onto. Of a planar image only two axes count.

    Raises:
        VolumeReadError: With ``bad_affine`` or ``no_spacing``.
    """
    if len(shape) == 2:
        affine = _with_normal(path, affine)
    straight, shift = _straightened(path, affine, shape)
    if shift <= _NEGLIGIBLE_MM:
        return Grid(shape, affine, (), shape, affine)
    if shift <= _REPAIRABLE_MM:
        return Grid(shape, straight, ("affine_orthonormalised",), shape, affine)
    if len(shape) == 2:
        raise refuse(path, "bad_affine", "the axes of a planar image are not at right angles")
    size, straight = straight_grid(affine, shape)
    unit = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    is_flat = abs(np.linalg.det(unit)) < _FLATTEST
    if is_flat or float(np.prod(size, dtype=np.float64)) > _MOST_GROWTH * np.prod(
        shape, dtype=np.float64
    ):
        reason = f"its axes lean so much ({shift:.0f} mm at a corner) that no straight grid suits"
        raise refuse(path, "bad_affine", reason)
    return Grid(size, straight, ("shear_resampled",), shape, affine)


def check_size(path: Path, shape: Shape, item_bytes: int) -> int:
    """Return how many bytes a grid of values takes.

    Raises:
        VolumeReadError: With ``too_large``, before anything is allocated.
    """
    size = item_bytes
    for edge in shape:
        size *= edge
    if size > MAX_VOXEL_BYTES:
        raise refuse(path, "too_large", f"its header declares {shape} voxels")
    return size


def fill_non_finite(path: Path, data: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    """Replace a few NaN or infinite values by the smallest finite one.

    Raises:
        VolumeReadError: With ``non_finite`` where they are more than one in a hundred.
    """
    if not np.issubdtype(data.dtype, np.floating):
        return data, ()
    finite = np.isfinite(data)
    bad = data.size - int(np.count_nonzero(finite))
    if bad == 0:
        return data, ()
    if bad > _NON_FINITE_LIMIT * data.size:
        share = 100 * bad / data.size
        raise refuse(path, "non_finite", f"{share:.1f} % of its values are NaN or infinite")
    return np.where(finite, data, data[finite].min()), ("non_finite_filled",)


def _straightened(
    path: Path, affine: npt.NDArray[np.float64], shape: Shape
) -> tuple[npt.NDArray[np.float64], float]:
    """Return the nearest affine with axes at right angles that keeps spacing and centre.

    The second value is by how much it moves the worst corner.
    """
    if not np.all(np.isfinite(affine)):
        raise refuse(path, "bad_affine", "its affine holds numbers that are not finite")
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not 0 < lengths.min() <= lengths.max() < np.inf:
        raise refuse(path, "bad_affine", "its affine is singular, so voxels have no place in space")
    if abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-3:
        raise refuse(path, "bad_affine", "its affine is singular, so voxels have no place in space")
    low, high = SPACING_RANGE_MM
    if lengths.min() < low or lengths.max() > high:
        worst = lengths[np.argmax(np.abs(np.log(lengths)))]
        reason = f"a spacing of {worst:.4g} mm is outside {low} to {high} mm; is its unit right?"
        raise refuse(path, "no_spacing", reason)
    straight = affine.copy()
    straight[:3, :3] = straight_axes(affine[:3, :3] / lengths) * lengths
    centre = np.array([(size - 1) / 2 for size in (*shape, 1, 1)[:3]])
    straight[:3, 3] += (affine[:3, :3] - straight[:3, :3]) @ centre
    return straight, corner_shift_mm(affine, straight, shape)


def _with_normal(path: Path, affine: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the affine of a planar image with its normal, 1 mm long, as the third axis."""
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    length = float(np.linalg.norm(normal))
    if not 0 < length < np.inf:
        raise refuse(path, "bad_affine", "its affine is singular, so voxels have no place in space")
    whole = affine.copy()
    whole[:3, 2] = normal / length
    return whole
