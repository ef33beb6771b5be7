"""Tells by how much the crops of a place overlap: crops that share voxels are no strangers."""

from __future__ import annotations

import numpy as np

from medssl.sampling.facts import VolumeFacts
from medssl.sampling.grid import overlap_shares
from medssl.sampling.places import Sampler
from medssl.types import Place, Shape

__all__ = ["Overlaps"]


class Overlaps:
    """The places of another sampler, with one more target.

    ``overlap`` ``(crops, crops)`` float32 is the share of each crop's volume that lies in each
    other crop of its place, 1 on the diagonal.

    Args:
        sampler: Says where to look.
    """

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler

    def place(self, facts: VolumeFacts, patch: Shape, generator: np.random.Generator) -> Place:
        """Return the other's place, see :class:`~medssl.sampling.places.Sampler`."""
        place = self.sampler.place(facts, patch, generator)
        crops = list(place.crops)
        targets = {**place.targets, "overlap": overlap_shares(crops, crops)}
        return Place(place.region, place.crops, targets, place.planar)
