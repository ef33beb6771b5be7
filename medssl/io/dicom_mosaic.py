"""Siemens mosaics: all planes of a volume as tiles of one picture.

The number of planes and the direction from plane to plane lie in private elements.
"""

from __future__ import annotations

import math
import struct
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from medssl.io.dicom_frames import Frame
from medssl.io.dicom_tags import HeaderItem

__all__ = ["is_mosaic", "mosaic_tiles"]

_MOST_TILES = 4096


def is_mosaic(frames: tuple[Frame, ...]) -> bool:
    """Say whether a file's only picture is a mosaic."""
    return len(frames) == 1 and "MOSAIC" in frames[0].image_type.split("\\")


def mosaic_tiles(whole: Frame, header: HeaderItem) -> tuple[Frame, ...]:
    """Return the tiles of a mosaic; the picture itself where the file does not count them.

    The stated position is that of a picture as large as the mosaic about the first plane's centre.
    """
    count = header.get("SiemensMosaicCount")
    if count is None:
        return (whole,)
    if not 1 <= count <= _MOST_TILES:
        raise ValueError("a number of tiles that can't be")
    tiles = math.ceil(math.sqrt(count))
    rows, columns = whole.rows // tiles, whole.columns // tiles
    tile = replace(whole, rows=rows, columns=columns, tiles=tiles)
    planes = [replace(tile, index=index) for index in range(count)]
    if whole.position is None or whole.orientation is None or whole.spacing is None:
        return tuple(planes)
    across, down = np.array(whole.orientation[:3]), np.array(whole.orientation[3:])
    margin = (whole.columns - columns) / 2 * whole.spacing[1] * across
    margin = margin + (whole.rows - rows) / 2 * whole.spacing[0] * down
    step = _normal(header, np.cross(across, down)) * (whole.thickness or 0.0)
    start = np.array(whole.position) + margin
    return tuple(
        replace(plane, position=tuple((start + plane.index * step).tolist())) for plane in planes
    )


def _normal(header: HeaderItem, normal: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the direction from plane to plane, which Siemens keeps in a private header."""
    private = header.get("SiemensCsa")
    stated = _slice_normal(private) if isinstance(private, bytes) else []
    if len(stated) == 3 and float(np.dot(stated, normal)) < 0:
        return -normal
    return normal


def _slice_normal(private: bytes) -> list[float]:
    """Return the numbers of SliceNormalVector in a header of Siemens' own format."""
    try:
        if not private.startswith(b"SV10"):
            return _slice_normal_of_old(private)
        entry = private.index(b"SliceNormalVector\0")
        (count,) = struct.unpack_from("<i", private, entry + 76)
        position, found = entry + 84, []
        for _ in range(min(count, 3)):
            (length,) = struct.unpack_from("<i", private, position + 4)
            found.append(float(private[position + 16 : position + 16 + length].strip(b" \0")))
            position += 16 + (length + 3) // 4 * 4
    except (KeyError, ValueError, struct.error):
        return []
    return found


def _slice_normal_of_old(private: bytes) -> list[float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nibabel calls this module experimental
        from nibabel.nicom import csareader
    read: Any = csareader.read
    try:
        return [float(item) for item in read(private)["tags"]["SliceNormalVector"]["items"]]
    except csareader.CSAReadError:
        return []
