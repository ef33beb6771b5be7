"""Schedules: pure functions of how far a run has come."""

from __future__ import annotations

import math

from medssl.training.config import OptimConfig

__all__ = ["cosine_between", "learning_rate_factor", "steps_of"]


def cosine_between(step: int, total: int, *, start: float, end: float) -> float:
    """Return a value that moves from ``start`` to ``end`` along half a cosine.

    Example:
        >>> [round(cosine_between(step, 4, start=0.0, end=1.0), 2) for step in range(5)]
        [0.0, 0.15, 0.5, 0.85, 1.0]
    """
    progress = min(max(step / max(total, 1), 0.0), 1.0)
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def learning_rate_factor(step: int, total: int, optim: OptimConfig) -> float:
    """Return the learning rate at ``step`` as a share of its peak.

    Args:
        step: Steps taken so far.
        total: Steps of the whole run.
        optim: Its warm-up, schedule and shares.

    Example:
        >>> from medssl.training.config import OptimConfig
        >>> learning_rate_factor(0, 100, OptimConfig(warmup=0.1))
        0.1
    """
    warmup_steps = steps_of(optim.warmup, total)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    step -= warmup_steps
    left = total - warmup_steps
    if optim.schedule == "constant":
        return 1.0
    if optim.schedule == "cosine":
        return cosine_between(step, left, start=1.0, end=optim.final_lr_ratio)
    plateau = optim.plateau_lr_ratio
    anneal_steps = steps_of(optim.anneal, total)
    if step >= left - anneal_steps:
        return _anneal(step - left + anneal_steps, anneal_steps, plateau, optim.final_lr_ratio)
    return cosine_between(step, steps_of(optim.cooldown, total), start=1.0, end=plateau)


def steps_of(length: float, total: int) -> int:
    """Return a number of steps that is given as such, or below 1 as a share of the run."""
    return round(length if length >= 1 else length * total)


def _anneal(step: int, total: int, start: float, end: float) -> float:
    """Fall exponentially, or to 0, which no power reaches, in equal steps."""
    progress = min(step / max(total, 1), 1.0)
    if end == 0:
        return start * (1 - progress)
    return float(start * (end / start) ** progress)
