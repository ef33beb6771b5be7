"""How well two views of one place predict each other, at several depths of a network (PCRLv2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medssl.losses.prediction import cosine_distance

__all__ = ["Embedded", "siamese_distance"]

Embedded = tuple[Tensor, Tensor]
"""Of one depth: vectors before and after the small network that predicts, ``(n, D)`` each."""


def siamese_distance(first: Sequence[Embedded], second: Sequence[Embedded]) -> Tensor:
    """Return how badly each of two views predicts the other, a mean over both ways and all depths.

    It is one more than the published loss, which is minus a cosine.

    Args:
        first: Vectors of one view at each depth.
        second: Those of the other, rows in line.
    """
    return torch.stack(
        [
            (cosine_distance(after_a, before_b) + cosine_distance(after_b, before_a)) / 2
            for (before_a, after_a), (before_b, after_b) in zip(first, second, strict=True)
        ]
    ).mean()
