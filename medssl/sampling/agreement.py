"""One place for several ways of learning: which sampler can serve them all."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from medssl.errors import ConfigError
from medssl.sampling.balance import LabelBalanced
from medssl.sampling.body import Body
from medssl.sampling.facts import VolumeFacts
from medssl.sampling.grid import overlap_shares
from medssl.sampling.overlaps import Overlaps
from medssl.sampling.partners import JointSampler
from medssl.sampling.places import Sampler, Uniform
from medssl.sampling.tissue import Tissue
from medssl.types import Place, Shape

__all__ = ["CROP_OVERLAP", "SharedPlaces", "agreed", "is_same"]

CROP_OVERLAP = "crop_overlap"
"""Target of :class:`SharedPlaces`, beside an ``overlap`` of the sampler's own."""

ANYWHERE = (Body, LabelBalanced, Tissue, Uniform)
"""Samplers whose crops have no order and no other meaning; who asks for them can take any crops."""


class SharedPlaces:
    """The places of a sampler, and by how much their crops overlap, for whoever asks for that too.

    Target ``crop_overlap`` is what :class:`~medssl.sampling.overlaps.Overlaps` calls ``overlap``.

    Args:
        sampler: Says where to look.
    """

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler

    def place(self, facts: VolumeFacts, patch: Shape, generator: np.random.Generator) -> Place:
        """Return the other's place, see :class:`~medssl.sampling.places.Sampler`."""
        place = self.sampler.place(facts, patch, generator)
        crops = list(place.crops)
        targets = {**place.targets, CROP_OVERLAP: overlap_shares(crops, crops)}
        return dataclasses.replace(place, targets=targets)


def agreed(samplers: Sequence[Sampler | JointSampler], names: Sequence[str]) -> int:
    """Return the number of the sampler whose places serve all.

    It is the first whose crops have a meaning, such as a grid or corresponding crops, else the
    first with several crops a place, else the first. Who asks for crops anywhere is served by any.

    Args:
        samplers: What each asks for.
        names: Who asks, for messages.

    Raises:
        ConfigError: If two ask for crops with different meanings.
    """
    meant = [number for number, sampler in enumerate(samplers) if not _is_anywhere(sampler)]
    for number in meant[1:]:
        first = meant[0]
        if not is_same(samplers[first], samplers[number]):
            raise ConfigError(
                f'"{names[first]}" and "{names[number]}" can\'t learn from the same crops: one '
                f"asks for {_described(samplers[first])}, the other for "
                f"{_described(samplers[number])}; give both the same options for where they look, "
                "or pretrain with one after the other"
            )
    several = [number for number, sampler in enumerate(samplers) if _crops(sampler) > 1]
    return next(iter([*meant, *several, 0]))


def is_same(first: Any, second: Any) -> bool:
    """Say whether two samplers are of one class with the same options."""
    if type(first) is not type(second) or not hasattr(first, "__dict__"):
        return bool(first == second)
    mine, other = vars(first), vars(second)
    return mine.keys() == other.keys() and all(is_same(mine[name], other[name]) for name in mine)


def _is_anywhere(sampler: object) -> bool:
    inner = sampler.sampler if isinstance(sampler, Overlaps) else sampler
    return isinstance(inner, ANYWHERE)


def _crops(sampler: object) -> int:
    inner = sampler.sampler if isinstance(sampler, Overlaps) else sampler
    crops: int = getattr(inner, "crops", 1)
    return crops


def _described(sampler: object) -> str:
    options = ", ".join(
        f"{name}={value}"
        for name, value in vars(sampler).items()
        if isinstance(value, int | float | str | tuple)
    )
    return f"{type(sampler).__name__}({options})"
