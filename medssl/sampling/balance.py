"""Crops for fine-tuning that meet every label, however small its organ."""

from __future__ import annotations

import numpy as np

from medssl.sampling.facts import VolumeFacts
from medssl.sampling.places import Uniform, near_middle
from medssl.types import Box, Place, Shape

__all__ = ["LabelBalanced"]


class LabelBalanced:
    """One crop, which with a set chance holds a voxel of a label, each label as likely as another.

    The voxel lies anywhere in the middle half of the crop, as far as the volume allows: a network
    that always sees the organ in the very centre learns the centre. All other crops are uniform,
    and so are those of a volume without labels.

    Args:
        foreground: Chance of a crop on a label, in [0, 1].
    """

    def __init__(self, *, foreground: float = 0.5) -> None:
        self.foreground = foreground

    def place(self, facts: VolumeFacts, patch: Shape, generator: np.random.Generator) -> Place:
        """Return one crop, see :class:`~medssl.sampling.places.Sampler`."""
        labels = sorted(facts.label_voxels) if facts.label_voxels else []
        if not labels or facts.label_voxels is None or generator.random() >= self.foreground:
            return Uniform().place(facts, patch, generator)
        voxels = facts.label_voxels[labels[int(generator.integers(len(labels)))]]
        voxel = voxels[int(generator.integers(len(voxels)))]
        box = near_middle(tuple(voxel.tolist()), patch, facts.shape, generator)
        return Place(box, (Box((0,) * len(patch), patch),))
