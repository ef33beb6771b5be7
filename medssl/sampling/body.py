"""What is body and what is air, on a coarse grid, and crops that hold enough of the body."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from medssl.sampling.facts import VolumeFacts
from medssl.sampling.places import scatter
from medssl.sampling.share import fullest_boxes, holds_share, start_range
from medssl.types import Box, Modality, Place, Shape

__all__ = [
    "Body",
    "block_mean",
    "cell_of",
    "occupancy",
    "spread_cells",
]

_CELL_MM = 4.0
_MOST_CELLS = 64
"""A cell is about 4 mm wide, and a volume has at most 64 along an axis: some kilobytes a volume."""

_AIR_HU = -500
"""Half-way between air and soft tissue; lungs lie near it and are filled in as holes."""

_DARK = 0.25
"""Air, as a share of the brightness of tissue, is darker than this."""

_TRIES = 24
"""Positions anywhere that are judged before looking where the body is fullest."""


def cell_of(shape: Shape, spacing_mm: tuple[float, ...]) -> Shape:
    """Return the edge of a coarse cell in voxels.

    Example:
        >>> cell_of((512, 512, 100), (0.75, 0.75, 5.0))
        (8, 8, 2)
    """
    return tuple(
        max(1, round(_CELL_MM / edge), -(-count // _MOST_CELLS))
        for count, edge in zip(shape, spacing_mm, strict=True)
    )


def occupancy(
    data: npt.NDArray[np.number], modality: Modality, cell: Shape
) -> npt.NDArray[np.bool_]:
    """Return which cells hold body: the largest connected region that is not air, without holes.

    CT has an absolute threshold. Elsewhere Otsu's threshold parts air from tissue, unless the
    darker class is not dark: a crop within the head has no air, and all of it counts as body.

    Args:
        data: ``(X, Y, Z)`` or ``(X, Y)``; Hounsfield units for CT, any unit otherwise.
        modality: What made the image.
        cell: Edge of a cell in voxels.

    Returns:
        ``(ceil(X / cell), …)``. If nothing stands out from the air, every cell counts.
    """
    coarse = block_mean(data, cell)
    bright = coarse > (_AIR_HU if modality == "ct" else _air_level(coarse, _floor(data)))
    regions, count = scipy.ndimage.label(bright)
    if count == 0:
        return np.ones(coarse.shape, np.bool_)
    sizes = np.bincount(regions.ravel())
    sizes[0] = 0
    return _without_holes(regions == sizes.argmax())


def block_mean(data: npt.NDArray[np.number], cell: Shape) -> npt.NDArray[np.float32]:
    """Return the mean of each cell; the last cell of an axis may hold fewer voxels.

    Example:
        >>> block_mean(np.array([[1.0, 3.0, 8.0]]), (1, 2))
        array([[2., 8.]], dtype=float32)
    """
    total = np.asarray(data)
    for axis, edge in enumerate(cell):
        starts = np.arange(0, total.shape[axis], edge)
        total = np.add.reduceat(total, starts, axis=axis, dtype=np.float32)
        sizes = np.diff(np.append(starts, data.shape[axis])).astype(np.float32)
        total = total / sizes.reshape([-1 if other == axis else 1 for other in range(data.ndim)])
    return total.astype(np.float32, copy=False)


def spread_cells(cells: npt.NDArray[np.bool_], cell: Shape, shape: Shape) -> npt.NDArray[np.bool_]:
    """Repeat a coarse grid to voxels, ``shape``."""
    for axis, edge in enumerate(cell):
        cells = np.repeat(cells, edge, axis=axis)
    return cells[tuple(slice(0, count) for count in shape)]


class Body:
    """Crops that hold at least a set share of body, every such position as likely as any other.

    Positions are drawn and judged on the coarse grid; no voxel is looked at. In a volume where few
    positions hold the share they are looked for at the edges of cells; where none does, the crop
    holds at least nine tenths of the body that the fullest could hold.

    Args:
        crops: How many crops of one place.
        share: Least share of body in the first crop, in [0, 1]; the others lie around it.
        spread: As for :class:`~medssl.sampling.places.Uniform`.
    """

    def __init__(self, *, crops: int = 1, share: float = 0.5, spread: float = 0.25) -> None:
        self.crops = crops
        self.share = share
        self.spread = spread

    def place(self, facts: VolumeFacts, patch: Shape, generator: np.random.Generator) -> Place:
        """Return crops of one random region on the body, see :class:`Sampler`."""
        first = self.box(facts, patch, generator)
        return scatter(first, facts.shape, self.crops, self.spread, generator)

    def box(self, facts: VolumeFacts, size: Shape, generator: np.random.Generator) -> Box:
        """Return one box that holds enough of the body.

        Args:
            facts: What is known of the volume.
            size: Voxels along each edge of the box.
            generator: Where chance comes from.
        """
        ranges = start_range(facts, size, self.share)
        for _ in range(_TRIES):
            start = tuple(
                low + int(chance * (high - low + 1))
                for chance, (low, high) in zip(
                    generator.random(len(size)).tolist(), ranges, strict=True
                )
            )
            if holds_share(facts, start, size, self.share):
                return Box(start, size)
        return self._rare_box(facts, size, generator)

    def _rare_box(self, facts: VolumeFacts, size: Shape, generator: np.random.Generator) -> Box:
        """Return a box where few hold the share: near the edges of cells, if that holds as much."""
        found, share = fullest_boxes(facts, size, self.share)
        at_edge = tuple(found[int(generator.integers(len(found)))].tolist())
        near = tuple(
            min(max(start + int(generator.integers(-(cell // 2), cell // 2 + 1)), low), high)
            for start, cell, (low, high) in zip(
                at_edge, facts.cell, start_range(facts, size, 0.0), strict=True
            )
        )
        return Box(near if holds_share(facts, near, size, share) else at_edge, size)


def _floor(data: npt.NDArray[np.number]) -> float:
    """Return what the darkest voxels hold, by a sample of them."""
    flat = data.reshape(-1)
    return float(np.percentile(flat[:: max(1, flat.size // 2**18)], 0.5))


def _air_level(coarse: npt.NDArray[np.float32], floor: float) -> float:
    """Return the value that parts air from tissue where intensities have no unit.

    Otsu's threshold is lowered to half-way between air and itself, because fat-suppressed and
    distant tissue is dim; air varies little.

    Args:
        coarse: Means of the cells.
        floor: What the darkest voxels hold.
    """
    low, high = np.percentile(coarse, (0.5, 99.5))
    counts, edges = np.histogram(coarse, bins=128, range=(low, max(high, low + 1e-6)))
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = counts.sum() - below
    mass = np.cumsum(counts * middles)
    dark = mass[:-1] / np.maximum(below, 1)
    light = (mass[-1] - mass[:-1]) / np.maximum(above, 1)
    best = int((below * above * (light - dark) ** 2).argmax())
    if dark[best] - floor > _DARK * (light[best] - floor):
        return -np.inf
    return float((dark[best] + edges[best + 1]) / 2)


def _without_holes(body: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Fill what the body encloses, in space or, as lungs cut off at the top, in one slice."""
    filled = scipy.ndimage.binary_fill_holes(body)
    if body.ndim == 3:
        for index in range(body.shape[2]):
            filled[:, :, index] = scipy.ndimage.binary_fill_holes(filled[:, :, index])
    return np.asarray(filled, np.bool_)
