"""A short code of how a volume looks: alike for copies that are not equal bit by bit.

After the data reduction of Wolf et al., "Less is More" (Computers in Biology and Medicine 2024),
who hash single slices; here three central slabs and three mean projections of a volume share one
code. A difference hash (dHash) says for each place of a coarse grid whether it is brighter than
its neighbour: rescaled values, a little noise, another spacing or file type change few bits of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from medssl.io.geometry import to_ras
from medssl.types import Volume

__all__ = ["BITS_PER_PLANE", "perceptual_hash"]

BITS_PER_PLANE = 64
_SIDE = 72
"""Samples along each axis: a multiple of the 8 rows and of the 9 columns of the coarse grid."""
_SLAB = slice(_SIDE // 2 - _SIDE // 16, _SIDE // 2 + _SIDE // 16)
_LEAST_STEP = 0.02
"""Steps below this share of a plane's range are none: noise in air would toss a coin for a bit."""


def perceptual_hash(volume: Volume) -> str:
    """Return a code of 6 x 64 bits as hexadecimal digits; for a planar image of 64 bits.

    The volume is looked at in RAS+ order, each axis at 72 places whatever its spacing and size.
    """
    data = to_ras(volume).data
    cube = data[np.ix_(*(_places(size) for size in data.shape))].astype(np.float32)
    np.nan_to_num(cube, copy=False)
    if cube.ndim == 2:
        return _difference_hash(cube).hex()
    planes = [np.moveaxis(cube, axis, 0) for axis in range(3)]
    slabs = [_difference_hash(plane[_SLAB].mean(axis=0)) for plane in planes]
    projections = [_difference_hash(plane.mean(axis=0)) for plane in planes]
    return b"".join(slabs + projections).hex()


def _places(size: int) -> npt.NDArray[np.intp]:
    """Return the voxels that lie at the same shares of any axis."""
    return ((np.arange(_SIDE) + 0.5) * size / _SIDE).astype(np.intp)


def _difference_hash(plane: npt.NDArray[Any]) -> bytes:
    """Return 64 bits: whether each cell of an 8 x 9 grid is brighter than the one before it."""
    coarse = plane.reshape(8, _SIDE // 8, 9, _SIDE // 9).mean(axis=(1, 3))
    least = _LEAST_STEP * float(coarse.max() - coarse.min())
    brighter = np.diff(coarse, axis=1) > least
    return np.packbits(brighter).tobytes()
