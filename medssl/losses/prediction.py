"""Losses of methods that predict one embedding from another."""

from __future__ import annotations

import torch
from torch import Tensor

from medssl.losses.contrast import unit

__all__ = ["cosine_distance"]


def cosine_distance(predicted: Tensor, target: Tensor) -> Tensor:
    """Return ``1 - cos``, a mean over rows, in float32; no gradient reaches the target.

    Args:
        predicted: ``(n, D)``.
        target: ``(n, D)``, rows in line.

    Example:
        >>> cosine_distance(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]]))
        tensor(1.)
    """
    with torch.autocast(predicted.device.type, enabled=False):
        return 1.0 - (unit(predicted) * unit(target.detach())).sum(dim=-1).mean()
