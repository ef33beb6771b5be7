"""Planar crops out of volumes: slices along any axis, thick slices, and neighbours as channels."""

from __future__ import annotations

import dataclasses

import numpy as np

from medssl.errors import ConfigError
from medssl.sampling.facts import VolumeFacts
from medssl.sampling.places import Sampler, around, bounding_place
from medssl.sampling.share import holds_share, random_body_voxel, start_range
from medssl.types import Box, Place, Planar, Shape

__all__ = ["SlicePosition", "Slices"]

_TRIES = 16


class Slices:
    """Lets a sampler place crops that are one slice thick, so that a 2D network can learn from 3D.

    From a planar image the crops are planar anyway. Distances are in millimetres, so that volumes
    of different spacing give alike pictures; where a store keeps native spacings, that matters.

    Args:
        inner: Decides where; it is asked for a patch of one slice.
        axis: The axis across the slices: 0 cuts sagittal, 1 coronal, 2 axial ones. Of several, one
            is drawn for each place.
        channels: Neighbouring slices that become channels of one image (2.5D), the chosen one in
            their middle. Beyond the end of the volume its last slice is repeated.
        gap_mm: Distance between these; none takes one slice after the other.
        slab_mm: Thickness of a slab whose mean is the image; none takes a single slice.
        pixel_mm: Size of a pixel in the image, to which boxes are brought; none keeps voxels, which
            are oblong on sagittal and coronal slices of a volume with thick slices.

    Attributes:
        volume_dims: Axes of the volumes that slices are taken from.
    """

    volume_dims = 3

    def __init__(
        self,
        inner: Sampler,
        *,
        axis: int | tuple[int, ...] = 2,
        channels: int = 1,
        gap_mm: float | None = None,
        slab_mm: float | None = None,
        pixel_mm: float | None = None,
    ) -> None:
        self.inner = inner
        self.axes = (axis,) if isinstance(axis, int) else tuple(axis)
        self.channels = channels
        self.gap_mm = gap_mm
        self.slab_mm = slab_mm
        self.pixel_mm = pixel_mm
        if not self.axes or not set(self.axes) <= {0, 1, 2}:
            raise ConfigError(f"slices across axis {axis} do not exist; use 0, 1 or 2")
        if channels < 1 or (channels > 1 and slab_mm is not None):
            raise ConfigError(
                f"{channels} slices as channels of a slab of {slab_mm} mm make no image; choose "
                "channels of at least 1, or a slab"
            )

    def place(self, facts: VolumeFacts, patch: Shape, generator: np.random.Generator) -> Place:
        """Return planar crops, see :class:`~medssl.sampling.places.Sampler`.

        Args:
            facts: What is known of the volume, planar or not.
            patch: Two numbers.
            generator: Where chance comes from.
        """
        if len(patch) != 2:
            raise ValueError(f"slices take a patch of two numbers; got {patch}")
        if len(facts.shape) == 2:
            return self.inner.place(facts, self._edges(patch, facts.spacing_mm), generator)
        # Nothing is drawn where there is no choice, so that a choice more changes nothing else.
        number = int(generator.integers(len(self.axes))) if len(self.axes) > 1 else 0
        axis = self.axes[number]
        spacing = facts.spacing_mm[:axis] + facts.spacing_mm[axis + 1 :]
        edges = list(self._edges(patch, spacing))
        thickness = facts.spacing_mm[axis]
        edges.insert(axis, 1 if self.slab_mm is None else max(1, round(self.slab_mm / thickness)))
        place = self.inner.place(facts, tuple(edges), generator)
        if self.slab_mm is not None:
            return dataclasses.replace(place, planar=Planar(axis, None))
        step = 1 if self.gap_mm is None else max(1, round(self.gap_mm / thickness))
        return _with_neighbours(place, axis, self.channels, step)

    def _edges(self, patch: Shape, spacing_mm: tuple[float, ...]) -> Shape:
        """Return the voxels that the image covers in its plane."""
        if self.pixel_mm is None:
            return patch
        return tuple(
            max(1, round(edge * self.pixel_mm / mm))
            for edge, mm in zip(patch, spacing_mm, strict=True)
        )


def _with_neighbours(place: Place, axis: int, channels: int, step: int) -> Place:
    """Return a place of single slices with slices added before and behind."""
    before, behind = (channels - 1) // 2 * step, channels // 2 * step
    start, size = list(place.region.start), list(place.region.size)
    start[axis] -= before
    size[axis] += before + behind
    crops = []
    for box in place.crops:
        edges = list(box.size)
        edges[axis] += before + behind
        crops.append(Box(box.start, tuple(edges)))
    taken = tuple(number * step for number in range(channels))
    region = Box(tuple(start), tuple(size))
    return Place(region, tuple(crops), place.targets, Planar(axis, taken))


class SlicePosition:
    """Slices of a body, each part of its length as often as any other (Chaitanya et al. 2020).

    To be used inside :class:`Slices`, whose axis it takes. In its plane a crop holds enough of the
    body, as far as the slice has it.

    Targets: ``position`` ``(crops,)`` float32, how far through the body's box the slice lies, in
    [0, 1]; and ``partition`` ``(crops,)`` int64, the part it belongs to.

    Args:
        partitions: Parts of equal length that the body is cut into.
        every: Whether a place has one slice of each part, in their order, all at the same place in
            the plane and so cut from one region; else it has one slice of one part.
        share: Least share of body in a crop.
    """

    def __init__(self, *, partitions: int = 4, every: bool = False, share: float = 0.5) -> None:
        if partitions < 1:
            raise ConfigError(f"a body in {partitions} partitions has no slices; use 1 or more")
        self.partitions = partitions
        self.every = every
        self.share = share

    def place(self, facts: VolumeFacts, patch: Shape, generator: np.random.Generator) -> Place:
        """Return slices and their positions, see :class:`~medssl.sampling.places.Sampler`.

        Args:
            facts: What is known of the volume; not of a planar image.
            patch: Three numbers; 1 across the slices.
            generator: Where chance comes from.
        """
        if len(patch) != 3 or 1 not in patch:
            raise ConfigError(
                f"slice positions need a patch of one slice of a volume; got {patch}; put the "
                "sampler into Slices, and planar images elsewhere"
            )
        axis = len(patch) - 1 - patch[::-1].index(1)
        begin, length = facts.body.start[axis], facts.body.size[axis]
        parts = range(self.partitions) if self.every else [int(generator.integers(self.partitions))]
        depths = [(part + float(generator.random())) / self.partitions for part in parts]
        numbers = [begin + min(int(depth * length), length - 1) for depth in depths]
        middle = self._in_plane(facts, patch, axis, numbers[len(numbers) // 2], generator)
        boxes = [Box((*middle[:axis], n, *middle[axis + 1 :]), patch) for n in numbers]
        place = bounding_place(boxes)
        positions = np.array([(n + 0.5 - begin) / length for n in numbers])
        targets = {
            "position": positions.astype(np.float32),
            # By the slice and not by the draw, which may round into the next part.
            "partition": np.minimum(positions * self.partitions, self.partitions - 1).astype(
                np.int64
            ),
        }
        return Place(place.region, place.crops, targets)

    def _in_plane(
        self,
        facts: VolumeFacts,
        patch: Shape,
        axis: int,
        number: int,
        generator: np.random.Generator,
    ) -> Shape:
        """Return the start of a crop of one slice on the body, or in the middle of the body."""
        ranges = start_range(facts, patch, self.share)
        ranges[axis] = (number, number)
        for _ in range(_TRIES):
            start = tuple(int(generator.integers(low, high + 1)) for low, high in ranges)
            if holds_share(facts, start, patch, self.share):
                return start
        return around(random_body_voxel(facts, generator), patch, facts.shape).start
