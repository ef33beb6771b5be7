"""Crops of several patients that have nothing to do with each other: to be mixed or fused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medssl.errors import ConfigError
from medssl.sampling.body import Body
from medssl.sampling.facts import VolumeFacts
from medssl.types import Place, Shape

__all__ = ["Strangers"]


class Strangers:
    """One crop anywhere on the body of each of several patients.

    Args:
        volumes: How many patients.
        share: Least share of body in each crop.
        same_modality: Whether all volumes must be of one modality; else its grey scale alone would
            tell them apart.
    """

    def __init__(self, *, volumes: int = 2, share: float = 0.5, same_modality: bool = True) -> None:
        if volumes < 2:
            raise ConfigError(f"crops of {volumes} patients are no strangers; use 2 or more")
        self.volumes = volumes
        self.body = Body(share=share)
        self.same_modality = same_modality

    def places(
        self, facts: Sequence[VolumeFacts], patch: Shape, generator: np.random.Generator
    ) -> list[Place]:
        """Return one crop a volume, see :class:`~medssl.sampling.partners.JointSampler`.

        Args:
            facts: What is known of each volume.
            patch: Voxels along each edge of a crop.
            generator: Where chance comes from.
        """
        return [self.body.place(each, patch, generator) for each in facts]
