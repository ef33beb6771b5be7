"""A stack of planes as a volume: the affine, and the resampling that leaning planes need."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from medssl.io.dicom_stack import Stack
from medssl.types import Shape

__all__ = ["restack", "stack_grid"]

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def stack_grid(stack: Stack) -> tuple[Shape, npt.NDArray[np.float64]]:
    """Return shape and RAS+ affine of the volume that a stack becomes.

    Planes that drift sideways make the grid wider by the drift, so that nothing is cut off.
    """
    first = stack.frames[0]
    orientation = np.array(first.orientation, dtype=np.float64).reshape(2, 3)
    across, down = orientation / np.linalg.norm(orientation, axis=1, keepdims=True)
    spacing = np.array(first.spacing or (1.0, 1.0))[::-1]
    start, extra = np.zeros(2), np.zeros(2, dtype=np.intp)
    planes = len(stack.frames)
    if not stack.is_regular:
        start, extra = _margins(stack, spacing)
        planes = int(float(stack.along_mm[-1]) / stack.step_mm + 1e-3) + 1
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = across * spacing[0], down * spacing[1]
    affine[:3, 2] = np.cross(across, down) * stack.step_mm
    affine[:3, 3] = np.array(first.position) + start[0] * across + start[1] * down
    shape = (first.columns + int(extra[0]), first.rows + int(extra[1]), planes)
    return shape, _LPS_TO_RAS @ affine


def restack(stack: Stack, planes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the volume of a stack, ``(X, Y, Z)``.

    Where planes lean or are unevenly spaced, each is shifted to its true place and the planes of
    the volume are interpolated linearly between the two nearest. Places that no plane saw get the
    smallest value.

    Args:
        stack: The frames and where they lie.
        planes: ``(X, Y, N)``, their values in the same order.
    """
    if stack.is_regular:
        return planes
    shape, _ = stack_grid(stack)
    spacing = np.array(stack.frames[0].spacing or (1.0, 1.0))[::-1]
    start, _ = _margins(stack, spacing)
    fill = float(planes.min())
    shifted = np.stack(
        [
            _shift(planes[:, :, k], (stack.drift_mm[k] - start) / spacing, shape[:2], fill)
            for k in range(len(stack.frames))
        ],
        axis=2,
    )
    at = np.clip(np.arange(shape[2]) * stack.step_mm, 0, stack.along_mm[-1])
    upper = np.clip(np.searchsorted(stack.along_mm, at, side="left"), 1, len(stack.frames) - 1)
    gap = stack.along_mm[upper] - stack.along_mm[upper - 1]
    weight = ((at - stack.along_mm[upper - 1]) / gap).astype(np.float32)
    volume = shifted[:, :, upper - 1] * (1 - weight) + shifted[:, :, upper] * weight
    if np.issubdtype(planes.dtype, np.integer):
        volume = np.rint(volume)
    return np.asarray(volume, dtype=planes.dtype)


def _margins(
    stack: Stack, spacing: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.intp]]:
    """Return where the grid starts, in mm along X and Y, and by how many voxels it is wider."""
    low, high = stack.drift_mm.min(axis=0), stack.drift_mm.max(axis=0)
    return low, np.ceil((high - low) / spacing - 1e-3).astype(np.intp)


def _shift(
    plane: npt.NDArray[Any], by: npt.NDArray[np.float64], shape: Shape, fill: float
) -> npt.NDArray[np.float32]:
    """Return a plane on a larger grid, ``by`` voxels from its corner, interpolated linearly."""
    result = np.full(shape, fill, dtype=np.float32)
    whole = np.floor(by).astype(int)
    part = by - whole
    padded = np.pad(plane.astype(np.float32), 1, constant_values=fill)
    for axis in (0, 1):
        if part[axis] > 1e-6:
            before = np.roll(padded, 1, axis=axis)
            padded = padded * (1 - part[axis]) + before * part[axis]
    # The pad of one voxel takes up what interpolation spreads over the edge.
    target, source = [], []
    for axis in (0, 1):
        start = max(whole[axis] - 1, 0)
        stop = min(whole[axis] - 1 + padded.shape[axis], shape[axis])
        target.append(slice(start, stop))
        source.append(slice(start - whole[axis] + 1, stop - whole[axis] + 1))
    result[tuple(target)] = padded[tuple(source)]
    return result
