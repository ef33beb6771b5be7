"""Planar crops out of volumes: axial slices, chosen by any other sampler."""

from __future__ import annotations

import numpy as np

from medssl.sampling.facts import VolumeFacts
from medssl.sampling.places import Sampler
from medssl.types import Place, Shape

__all__ = ["Slices"]


class Slices:
    """Lets a sampler place crops that are one slice thick, so that a 2D network can learn from 3D.

    From a volume the region and the crops have size 1 in Z; from a planar image they are planar.

    Args:
        inner: Decides where; it is asked for a patch of one slice.
    """

    def __init__(self, inner: Sampler) -> None:
        self.inner = inner

    def place(self, facts: VolumeFacts, patch: Shape, generator: np.random.Generator) -> Place:
        """Return planar crops, see :class:`~medssl.sampling.places.Sampler`.

        Args:
            facts: What is known of the volume, planar or not.
            patch: Two numbers.
            generator: Where chance comes from.
        """
        if len(patch) != 2:
            raise ValueError(f"slices take a patch of two numbers; got {patch}")
        return self.inner.place(facts, (*patch, 1)[: len(facts.shape)], generator)
