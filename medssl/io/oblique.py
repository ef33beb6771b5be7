"""Reading an array on a grid whose axes are not those of the array."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medssl.types import Shape

__all__ = ["Order", "read_turned"]

Order = Literal["nearest", "linear", "cubic"]
"""How to read between voxels: ``nearest`` for labels, ``linear`` or ``cubic`` for intensities."""

Array = npt.NDArray[Any]
Affine = npt.NDArray[np.float64]


def read_turned(
    data: Array, matrix: Affine, offset: Affine, shape: Shape, order: Order, outside: float | None
) -> Array:
    """Read an array on a grid that is turned against its own.

    Args:
        data: Spatial axes last, as many as ``shape`` has numbers.
        matrix: Steps along the target's axes, in voxels of ``data``.
        offset: The target's first voxel, in voxels of ``data``.
        shape: Spatial shape of the target.
        order: How to read between voxels.
        outside: Value of voxels whose centre lies in no voxel of ``data``; none repeats the edge.
    """
    import scipy.ndimage  # here, as it takes longest to load and few volumes are turned

    lead = data.shape[: data.ndim - len(shape)]
    degree = {"nearest": 0, "linear": 1, "cubic": 3}[order]
    dtype = data.dtype if order == "nearest" else np.dtype(np.float32)
    result = np.empty((*lead, *shape), dtype)
    for channel in np.ndindex(*lead):
        scipy.ndimage.affine_transform(
            data[channel].astype(dtype, copy=False), matrix, offset, shape, result[channel],
            order=degree, mode="nearest",
        )  # fmt: skip
    if outside is not None:
        _blank(result, matrix, offset, data.shape[len(lead) :], outside)
    return result


def _blank(result: Array, matrix: Affine, offset: Affine, shape: Shape, value: float) -> None:
    """Fill the voxels of a turned grid whose centre lies in no voxel of a source of this shape."""
    last = np.array(shape) - 0.5 + 1e-6
    count = len(shape)
    grid = np.stack(np.meshgrid(*map(np.arange, result.shape[-count + 1 :]), indexing="ij"), -1)
    plane = grid @ matrix[:, 1:].T + offset
    for first in range(result.shape[-count]):  # plane by plane, so that memory stays small
        index = plane + matrix[:, 0] * first
        beyond = ((index < -0.5 - 1e-6) | (index > last)).any(axis=-1)
        result.reshape(-1, *result.shape[-count:])[:, first, beyond] = value
