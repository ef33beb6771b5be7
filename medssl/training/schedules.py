"""Schedules: pure functions of how far a run has come."""

from __future__ import annotations

import math
from typing import Literal

__all__ = ["cosine_between", "learning_rate_factor"]


def cosine_between(step: int, total: int, *, start: float, end: float) -> float:
    """Return a value that moves from ``start`` to ``end`` along half a cosine.

    Example:
        >>> [round(cosine_between(step, 4, start=0.0, end=1.0), 2) for step in range(5)]
        [0.0, 0.15, 0.5, 0.85, 1.0]
    """
    progress = min(max(step / max(total, 1), 0.0), 1.0)
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def learning_rate_factor(
    step: int,
    total: int,
    *,
    warmup: float,
    schedule: Literal["cosine", "constant"],
    final_ratio: float,
) -> float:
    """Return the learning rate at ``step`` as a share of its peak.

    Args:
        step: Steps taken so far.
        total: Steps of the whole run.
        warmup: Share of the run over which the rate rises linearly.
        schedule: What follows the warm-up.
        final_ratio: Share of the peak that is left at the end of a cosine.

    Example:
        >>> learning_rate_factor(0, 100, warmup=0.1, schedule="cosine", final_ratio=0.0)
        0.1
    """
    warmup_steps = round(warmup * total)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    return cosine_between(step - warmup_steps, total - warmup_steps, start=1.0, end=final_ratio)
