"""Losses of methods that predict features instead of voxels."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.errors import ConfigError

__all__ = ["Distance", "latent_loss", "variance_hinge"]

Distance = Literal["square", "smooth"]


def latent_loss(predicted: Tensor, target: Tensor, *, distance: Distance = "smooth") -> Tensor:
    """Return how far predicted features lie from those of a teacher.

    The teacher's features are given mean 0 and variance 1 each, so that neither their size nor a
    common offset can be what is learned.

    Args:
        predicted: ``(…, D)``.
        target: Of the same shape; no gradient goes there.
        distance: ``square`` (CheXWorld), or ``smooth``: linear beyond 1 (I-JEPA).

    Returns:
        A scalar, in float32.

    Raises:
        ConfigError: If the distance is not known.
    """
    with torch.autocast(predicted.device.type, enabled=False):
        normed = F.layer_norm(target.detach().float(), target.shape[-1:])
        if distance == "square":
            return F.mse_loss(predicted.float(), normed)
        if distance == "smooth":
            return F.smooth_l1_loss(predicted.float(), normed)
    raise ConfigError(f'features can be "square" or "smooth" apart, not "{distance}"')


def variance_hinge(predicted: Tensor) -> Tensor:
    """Return by how much features vary too little from place to place: ``relu(1 - std)``.

    Args:
        predicted: ``(B, places, D)``, at least two places.

    Returns:
        A scalar, in float32: the mean over images and features.
    """
    with torch.autocast(predicted.device.type, enabled=False):
        spread = (predicted.float().var(dim=1) + 1e-4).sqrt()
        return F.relu(1.0 - spread).mean()
