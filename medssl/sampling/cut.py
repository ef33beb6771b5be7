"""From the voxels of a region to crops as large as the patch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from medssl.sampling.facts import VolumeFacts
from medssl.types import Box, Place, Shape

__all__ = [
    "cut_images",
    "cut_labels",
    "cut_stored",
    "keeps_voxels",
    "resize_area",
    "resize_nearest",
]

Array = npt.NDArray[Any]
Read = Callable[[Shape, Shape], Array]
"""Takes the first voxel and the size of a box and returns its voxels, ``(…, *size)``."""


def cut_images(
    read: Read, facts: VolumeFacts, place: Place, patch: Shape
) -> npt.NDArray[np.float32]:
    """Read the region of a place once and return its crops, ``(K, C, *patch)``.

    A crop larger than the patch is averaged down, a smaller one is interpolated. Where slices
    become a planar crop, the last slice is repeated beyond the end of the volume.

    Args:
        read: Reads ``(C, *size)`` voxels of the volume.
        facts: What is known of the volume.
        place: Region, crops and how they become planar.
        patch: Voxels along each edge of what is returned.
    """
    region = _read_region(read, facts, place)
    crops = [region[(slice(None), *_slices(box))] for box in place.crops]
    if place.planar is None:
        return _stacked([resize_area(crop, patch) for crop in crops])
    axis, channels = place.planar.axis + 1, place.planar.channels
    images = []
    for crop in crops:
        if channels is None:
            image = crop.mean(axis=axis, dtype=np.float32)
        else:
            # (C, slices, X, Y): the channels of a slice stay together.
            image = np.moveaxis(crop.take(channels, axis=axis), axis, 1)
            image = image.reshape(-1, *image.shape[2:])
        images.append(resize_area(image, patch))
    return _stacked(images)


def cut_stored(region: Array, place: Place) -> Array:
    """Return the crops of a region that are as large as they shall be, ``(K, C, *patch)``.

    Args:
        region: ``(C, *region)``, of any type.
        place: Crops that neither become planar nor change their size, see :func:`keeps_voxels`.
    """
    return _stacked([region[(slice(None), *_slices(box))] for box in place.crops])


def keeps_voxels(place: Place, patch: Shape) -> bool:
    """Say whether the crops of a place are voxels of the volume as they are."""
    return place.planar is None and all(box.size == patch for box in place.crops)


def _stacked(images: list[Array]) -> Array:
    """Return images behind one another; a single one is not copied."""
    return np.stack(images) if len(images) > 1 else images[0][None]


def cut_labels(read: Read, facts: VolumeFacts, place: Place, patch: Shape) -> npt.NDArray[np.int16]:
    """Return the masks of the crops of a place, ``(K, *patch)``.

    A planar crop gets the mask of its middle slice.

    Args:
        read: Reads ``size`` labels of the volume.
        facts: What is known of the volume.
        place: Region, crops and how they become planar.
        patch: Voxels along each edge of what is returned.
    """
    region = _read_region(lambda start, size: read(start, size)[None], facts, place)[0]
    masks = []
    for box in place.crops:
        mask = region[_slices(box)]
        if place.planar is not None:
            axis, channels = place.planar.axis, place.planar.channels
            middle = box.size[axis] // 2
            if channels is not None:
                middle = channels[(len(channels) - 1) // 2]
            mask = mask.take(middle, axis=axis)
        masks.append(resize_nearest(mask, patch))
    return np.stack(masks)


def _read_region(read: Read, facts: VolumeFacts, place: Place) -> Array:
    """Return ``(C, *region)``; what lies beyond the end along a planar axis repeats the end."""
    start, size = list(place.region.start), list(place.region.size)
    if place.planar is None:
        return read(tuple(start), tuple(size))
    axis = place.planar.axis
    # A region wholly beyond the end has its nearest slice.
    last = facts.shape[axis] - 1
    low, high = (min(max(edge, 0), last) for edge in (start[axis], start[axis] + size[axis] - 1))
    missing = (low - start[axis], start[axis] + size[axis] - 1 - high)
    start[axis], size[axis] = low, high - low + 1
    voxels = read(tuple(start), tuple(size))
    if missing == (0, 0):
        return voxels
    wanted = np.clip(np.arange(-missing[0], size[axis] + missing[1]), 0, size[axis] - 1)
    return voxels.take(wanted, axis=axis + 1)


def resize_area(image: npt.NDArray[np.float32], size: Shape) -> npt.NDArray[np.float32]:
    """Return an image with as many voxels along each axis as asked for.

    Along an axis that loses voxels each new one is the mean of what it covers; along one that gains
    they are interpolated linearly.

    Args:
        image: ``(C, X, Y, Z)`` or ``(C, X, Y)``.
        size: Voxels along each axis but the first.

    Example:
        >>> resize_area(np.array([[[1.0, 3.0, 5.0, 9.0]]], np.float32), (1, 2))
        array([[[2., 7.]]], dtype=float32)
    """
    for axis, count in enumerate(size, start=1):
        given = image.shape[axis]
        if given == count:
            continue
        if given % count == 0:
            image = _block_means(image, axis, given // count)
        else:
            weigh = _area_weights if given > count else _linear_weights
            image = np.moveaxis(np.tensordot(weigh(given, count), image, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(image, np.float32)


def resize_nearest(labels: Array, size: Shape) -> Array:
    """Return labels with as many voxels along each axis as asked for, each the nearest one."""
    for axis, count in enumerate(size):
        given = labels.shape[axis]
        if given != count:
            labels = labels.take(((np.arange(count) + 0.5) * given / count).astype(int), axis=axis)
    return labels


def _block_means(image: npt.NDArray[np.float32], axis: int, factor: int) -> npt.NDArray[np.float32]:
    """Return means of ``factor`` voxels; strided sums are several times faster than a reshape."""
    ahead = (slice(None),) * axis
    total = image[(*ahead, slice(0, None, factor))].copy()
    for first in range(1, factor):
        total += image[(*ahead, slice(first, None, factor))]
    total *= np.float32(1 / factor)
    return total


def _area_weights(given: int, count: int) -> npt.NDArray[np.float32]:
    """Return ``(count, given)``: by how much each old voxel lies in each new one."""
    edges = np.arange(count + 1) * (given / count)
    low, high = edges[:-1, None], edges[1:, None]
    old = np.arange(given)
    shared = np.clip(np.minimum(high, old + 1) - np.maximum(low, old), 0, None)
    return np.asarray(shared * (count / given), np.float32)


def _linear_weights(given: int, count: int) -> npt.NDArray[np.float32]:
    """Return ``(count, given)``: linear interpolation between the centres of the old voxels."""
    centres = np.clip((np.arange(count) + 0.5) * given / count - 0.5, 0, given - 1)
    return np.asarray(np.clip(1 - np.abs(centres[:, None] - np.arange(given)), 0, None), np.float32)


def _slices(box: Box) -> tuple[slice, ...]:
    return tuple(slice(start, stop) for start, stop in zip(box.start, box.stop, strict=True))
