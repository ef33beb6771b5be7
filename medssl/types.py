"""The few values that travel between the rooms of the house.

Arrays are ``(X, Y, Z)`` or ``(C, X, Y, Z)`` in the order of the affine that comes with them; after
``prepare`` that is RAS+. Lengths are millimetres, CT intensities Hounsfield units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Batch",
    "Box",
    "FloatArray",
    "IntArray",
    "Losses",
    "Modality",
    "Picture",
    "Place",
    "Planar",
    "Shape",
    "Volume",
]

Modality = Literal["ct", "mr", "pt", "us", "xr", "unknown"]
Shape = tuple[int, ...]
FloatArray = npt.NDArray[np.float32] | npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer[Any]]
Losses = dict[str, "Tensor"]
"""What ``Method.loss`` returns: ``"loss"`` is minimised, every other entry is logged."""


@dataclass(frozen=True)
class Volume:
    """One image with its place in space.

    Attributes:
        data: ``(X, Y, Z)`` or, for a planar image, ``(X, Y)``; one scalar a voxel.
        affine: ``(4, 4)``, voxel index to RAS+ millimetres; a planar image lies at z = 0.
        modality: What made the image.
        fixes: Codes of the repairs that reading made, as in ``volumes.parquet``.
    """

    data: npt.NDArray[Any]
    affine: npt.NDArray[np.float64]
    modality: Modality = "unknown"
    fixes: tuple[str, ...] = ()

    @property
    def spacing_mm(self) -> tuple[float, ...]:
        """Distance between voxel centres along each axis of ``data``, in millimetres."""
        lengths = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return tuple(float(length) for length in lengths[: self.data.ndim])


@dataclass(frozen=True)
class Box:
    """An axis-aligned box of voxels; ``start`` may be negative where the box leaves the volume.

    Attributes:
        start: First voxel along each axis.
        size: Number of voxels along each axis.
    """

    start: Shape
    size: Shape

    @property
    def stop(self) -> Shape:
        """One past the last voxel along each axis."""
        return tuple(a + b for a, b in zip(self.start, self.size, strict=True))


@dataclass(frozen=True)
class Planar:
    """How a box of some slices of a volume becomes a planar image.

    Attributes:
        axis: The axis across the slices.
        channels: Slices of the box that become channels, counted from its first; none is the mean
            of all of them, a thick slice.
    """

    axis: int
    channels: tuple[int, ...] | None = (0,)


@dataclass(frozen=True)
class Place:
    """Where one training example comes from: one region of one volume and the crops cut out of it.

    The region is read once, so that many crops cost one decode.

    Attributes:
        region: The part of the volume that is read, in voxels of the stored volume.
        crops: Boxes relative to the region; one that is not as large as the patch is brought to its
            size when it is cut out.
        targets: What the sampler knows about the crops (overlaps, positions), for the loss.
        planar: How boxes of a volume become planar crops; none leaves them as they are.
    """

    region: Box
    crops: tuple[Box, ...]
    targets: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    planar: Planar | None = None


@dataclass
class Batch:
    """What a data loader hands to a training step.

    Attributes:
        images: ``(B, K, C, *patch)``: K crops for each of B places; float32, or int16 as the store
            holds them.
        targets: Arrays of the sampler, or labels, stacked over B.
        volumes: The store id of each place, for messages.
        indices: Global number of each place; with the seed they replay the batch.
        coding: ``(B, K, 4)``: smallest and largest integer that counts, the integer that becomes 0,
            and the intensity of one step, of images that are still integers; else none.
    """

    images: Tensor
    targets: dict[str, Tensor]
    volumes: list[str]
    indices: list[int]
    coding: Tensor | None = None


@dataclass(frozen=True)
class Picture:
    """One picture for a report, drawn by whoever knows what it means.

    Attributes:
        title: What one sees, in a few words.
        panels: ``(label, (X, Y) array)`` pairs shown side by side, in the order given.
        caption: What to look for.
        kind: ``image`` for anatomy, ``matrix`` for numbers to be read off.
    """

    title: str
    panels: tuple[tuple[str, npt.NDArray[Any]], ...]
    caption: str = ""
    kind: Literal["image", "matrix"] = "image"
