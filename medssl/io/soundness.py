"""What makes an image usable whatever its format: a place in space and finite values.

Each check either passes, repairs and says so with a fix code, or raises with a reason code.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medssl.errors import VolumeReadError
from medssl.types import Shape

__all__ = [
    "SPACING_RANGE_MM",
    "corner_shift_mm",
    "fill_non_finite",
    "refuse",
    "sound_affine",
    "verdicts",
]

SPACING_RANGE_MM = (0.01, 30.0)
"""Beyond these no clinical scanner makes voxels; a value there is a wrong unit."""

_NEGLIGIBLE_MM = 0.01
_REPAIRABLE_MM = 0.5
_NON_FINITE_LIMIT = 0.01


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
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.all(np.isfinite(affine)):
        raise refuse(path, "bad_affine", "its affine holds numbers that are not finite")
    if lengths.min() <= 0 or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-3:
        raise refuse(path, "bad_affine", "its affine is singular, so voxels have no place in space")
    low, high = SPACING_RANGE_MM
    if lengths.min() < low or lengths.max() > high:
        worst = lengths[np.argmax(np.abs(np.log(lengths)))]
        reason = f"a spacing of {worst:.4g} mm is outside {low} to {high} mm; is its unit right?"
        raise refuse(path, "no_spacing", reason)
    straight = _straighten(affine, lengths, shape)
    shift = corner_shift_mm(affine, straight, shape)
    if shift <= _NEGLIGIBLE_MM:
        return affine, ()
    if shift <= _REPAIRABLE_MM:
        return straight, ("affine_orthonormalised",)
    reason = f"its axes are not at right angles (by {shift:.1f} mm at a corner); resample it first"
    raise refuse(path, "bad_affine", reason)


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


def _straighten(
    affine: npt.NDArray[np.float64], lengths: npt.NDArray[np.float64], shape: Shape
) -> npt.NDArray[np.float64]:
    """Return the nearest affine with axes at right angles that keeps spacing and centre."""
    left, _, right = np.linalg.svd(affine[:3, :3] / lengths)
    straight = affine.copy()
    straight[:3, :3] = (left @ right) * lengths
    centre = np.array([(size - 1) / 2 for size in (*shape, 1, 1)[:3]])
    straight[:3, 3] += (affine[:3, :3] - straight[:3, :3]) @ centre
    return straight
