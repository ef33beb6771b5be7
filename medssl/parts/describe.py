"""What was done to images, as numbers that a network can be told."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["describe"]


def describe(params: Mapping[str, Tensor]) -> Tensor:
    """Return the drawn parameters of a transform as one vector an image.

    For each transform whether an image got it, and if so its numbers; 0 if not. Random seeds, which
    nobody could use, are left out.

    Args:
        params: As drawn by a transform or a composition: ``"0.active"``, ``"0.exponent"``, …

    Returns:
        ``(B, n)`` float32; ``n`` depends on the transform and the shape of an image alone.

    Example:
        >>> drawn = {"active": torch.tensor([True, False]), "shift": torch.tensor([0.2, 0.3])}
        >>> describe(drawn)
        tensor([[1.0000, 0.2000],
                [0.0000, 0.0000]])
    """
    numbers = []
    for name in sorted(params):
        value = params[name]
        if not (value.is_floating_point() or value.dtype == torch.bool):
            continue
        # a part of a composition acts only where all that it is part of does
        gate, owner = params["active"], ""
        for part in name.split(".")[:-1]:
            owner = f"{owner}{part}."
            gate = gate & params[f"{owner}active"]
        numbers.append(value.float().flatten(1) if value.ndim > 1 else value.float()[:, None])
        numbers[-1] = torch.where(gate[:, None], numbers[-1], 0.0)
    return torch.cat(numbers, dim=1)
