"""Which tissue a coarse cell holds, and crops that look at every tissue equally often.

A body is mostly soft tissue: of a thousand uniform crops few look at the lungs of an abdominal scan
or at the bones of any. Tissues are worked out once, when a volume is prepared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from medssl.errors import ConfigError, StoreError
from medssl.sampling.facts import VolumeFacts
from medssl.sampling.places import near_middle, scatter
from medssl.sampling.share import random_voxel_of
from medssl.types import Modality, Place, Shape

__all__ = ["CT_TISSUES", "OTHER_TISSUES", "Tissue", "tissue_strata"]

CT_TISSUES = ("lung", "fat", "soft_tissue", "bone")
OTHER_TISSUES = ("dark", "medium", "bright")

_CT_EDGES_HU = (-250, -30, 200)
"""Half-way between lung and fat, between fat and muscle, and above all but bone and calcium.

Strongly enhanced vessels lie above the last one too; gas in the bowel counts as lung.
"""

_BONE_SHARE = 0.25
"""A cell is bone if a quarter of it is: most of a bone is marrow, whose values are those of soft
tissue and fat."""

_SAMPLES = 4
"""Voxels along each edge of a cell that are looked at: 64 tell the commonest tissue well enough."""

_BINS = 96

_ONE_EACH = np.array([1, 1 << 8, 1 << 16, 1 << 24], np.uint32)

Number = TypeVar("Number", np.float32, np.uint32)


def tissue_strata(
    data: npt.NDArray[np.number],
    modality: Modality,
    cell: Shape,
    occupancy: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
    """Return the tissue of every cell of the body.

    In CT a cell is bone if a quarter of its voxels are, else what most of its voxels are. The
    commonest decides and not the mean, which would call every border of lung and muscle fat. Other
    modalities have no unit: cells are parted by their mean into dark, medium and bright ones, where
    these classes vary least within themselves (Otsu's rule for three).

    Args:
        data: ``(X, Y, Z)`` or ``(X, Y)``; Hounsfield units for CT, any unit otherwise.
        modality: What made the image.
        cell: Edge of a cell in voxels.
        occupancy: Which cells are body.

    Returns:
        A grid of the shape of ``occupancy``, 0 outside the body and ``n`` for the tissue of name
        ``n - 1``; and the names.
    """
    names: tuple[str, ...]
    seen, starts = _samples(data, cell)
    if modality == "ct":
        classes = np.zeros(seen.shape, np.uint8)
        for edge in _CT_EDGES_HU:
            classes += seen >= edge
        # A cell has at most 64 samples, so the counts of four classes fit into one number's bytes.
        packed = _cell_sums(_ONE_EACH[classes], starts)
        counts = [(packed >> (8 * n)) & 255 for n in range(len(CT_TISSUES))]
        is_bone = counts[-1] >= _BONE_SHARE * sum(counts)
        strata, names = np.where(is_bone, 3, np.stack(counts).argmax(axis=0)), CT_TISSUES
    else:
        means = _cell_sums(seen.astype(np.float32), starts) / _cell_sizes(seen.shape, starts)
        edges = _three_classes(means[occupancy])
        strata, names = np.searchsorted(edges, means.ravel()).reshape(means.shape), OTHER_TISSUES
    return np.where(occupancy, strata + 1, 0).astype(np.uint8), names


class Tissue:
    """Crops on every tissue of a volume equally often, however little of it there is.

    A tissue is drawn among those that the volume holds, then one of its cells, then a voxel in it.
    The voxel lies anywhere in the middle half of the crop, as far as the volume allows; what else
    the crop holds is left to anatomy.

    Args:
        crops: How many crops of one place; the others lie around the first.
        weights: How often a tissue is drawn for every time that one without a weight is, by name;
            0 never draws it.
        spread: As for :class:`~medssl.sampling.places.Uniform`.
    """

    def __init__(
        self,
        *,
        crops: int = 1,
        weights: Mapping[str, float] | None = None,
        spread: float = 0.25,
    ) -> None:
        self.crops = crops
        self.weights = dict(weights or {})
        self.spread = spread
        for name, weight in self.weights.items():
            if name not in (*CT_TISSUES, *OTHER_TISSUES) or not weight >= 0:
                known = ", ".join((*CT_TISSUES, *OTHER_TISSUES))
                raise ConfigError(
                    f"tissue {name!r} has weight {weight}; expected a number from 0 up for one of "
                    f"{known}"
                )

    def place(self, facts: VolumeFacts, patch: Shape, generator: np.random.Generator) -> Place:
        """Return crops of one random region, see :class:`~medssl.sampling.places.Sampler`.

        Raises:
            StoreError: If tissues were not worked out when the volume was prepared.
        """
        if facts.tissue is None:
            raise StoreError(
                "the store does not tell tissues apart, because an earlier version of medssl wrote "
                "it; run medssl prepare again with --overwrite, or use another sampler"
            )
        voxel = self._voxel(facts, generator)
        first = near_middle(voxel, patch, facts.shape, generator)
        return scatter(first, facts.shape, self.crops, self.spread, generator)

    def _voxel(self, facts: VolumeFacts, generator: np.random.Generator) -> Shape:
        cells = facts.tissue_cells
        weights = np.array([self.weights.get(facts.tissue_names[n - 1], 1.0) for n in cells])
        if not weights.sum() > 0:
            return tuple(int(generator.integers(count)) for count in facts.shape)
        drawn = np.searchsorted(np.cumsum(weights), generator.random() * weights.sum(), "right")
        chosen = cells[list(cells)[int(drawn)]]
        number = int(chosen[int(generator.integers(chosen.size))])
        corner = np.unravel_index(number, facts.occupancy.shape)
        return random_voxel_of([int(index) for index in corner], facts, generator)


def _samples(
    data: npt.NDArray[np.number], cell: Shape
) -> tuple[npt.NDArray[np.number], list[npt.NDArray[np.intp]]]:
    """Return up to four voxels along each edge of a cell, and where each cell begins in them."""
    starts = []
    for axis, edge in enumerate(cell):
        step = -(-edge // _SAMPLES)
        index = np.arange(data.shape[axis])
        if step > 1:
            # The first voxel of a cell is always one of them, so that no cell at the end is empty.
            index = index[index % edge % step == 0]
            data = data.take(index, axis=axis)
        starts.append(np.flatnonzero(np.diff(index // edge, prepend=-1)))
    return data, starts


def _cell_sums(
    values: npt.NDArray[Number], starts: Sequence[npt.NDArray[np.intp]]
) -> npt.NDArray[Number]:
    for axis, begins in enumerate(starts):
        values = np.add.reduceat(values, begins, axis=axis, dtype=values.dtype)
    return values


def _cell_sizes(shape: Shape, starts: Sequence[npt.NDArray[np.intp]]) -> npt.NDArray[np.float32]:
    """Return how many samples each cell has."""
    sizes = np.ones((), np.float32)
    for count, begins in zip(shape, starts, strict=True):
        edges = np.diff(begins, append=count).astype(np.float32)
        sizes = sizes[..., None] * edges
    return sizes


def _three_classes(values: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Return the two edges that leave the least variance within three classes of values."""
    if not values.size:
        return 0.0, 0.0
    low, high = np.percentile(values, (0.5, 99.5))
    counts, edges = np.histogram(
        np.clip(values, low, high), bins=_BINS, range=(low, max(high, low + 1e-6))
    )
    middles = (edges[:-1] + edges[1:]) / 2 - edges[0]
    mass = np.concatenate([[0.0], np.cumsum(counts, dtype=np.float64)])
    moment = np.concatenate([[0.0], np.cumsum(counts * middles)])
    first, second = np.meshgrid(np.arange(_BINS + 1), np.arange(_BINS + 1), indexing="ij")
    between = (
        _gain(mass, moment, 0, first)
        + _gain(mass, moment, first, second)
        + _gain(mass, moment, second, _BINS)
    )
    between[first > second] = -1.0
    best = np.unravel_index(int(between.argmax()), between.shape)
    return float(edges[best[0]]), float(edges[best[1]])


def _gain(
    mass: npt.NDArray[np.float64],
    moment: npt.NDArray[np.float64],
    begin: npt.NDArray[np.intp] | int,
    end: npt.NDArray[np.intp] | int,
) -> npt.NDArray[np.float64]:
    """Return what a class of bins adds to the variance between classes."""
    weight = mass[end] - mass[begin]
    gain: npt.NDArray[np.float64] = (moment[end] - moment[begin]) ** 2 / np.maximum(weight, 1e-9)
    return gain
