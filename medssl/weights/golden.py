"""Features of a synthetic volume, computed through preprocessing and network alike.

They show that an export still gives what it gave when it was written, its preprocessing included.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from medssl.encoders.base import Encoder
from medssl.types import Volume

__all__ = ["GOLDEN_INPUT", "golden_features", "golden_volume"]

GOLDEN_INPUT = "waves-48"
_FEATURES = 8


def golden_volume() -> Volume:
    """Return the synthetic volume ``waves-48``: smooth waves over a body of about soft tissue.

    Its voxels are 2 x 2 x 3 mm and its axes point left, anterior, superior, so that spacing and
    orientation are part of the test.
    """
    x, y, z = np.meshgrid(*(np.linspace(0, 1, n) for n in (48, 48, 32)), indexing="ij")
    body = ((x - 0.5) ** 2 + (y - 0.5) ** 2) < 0.16
    waves = 40 + 300 * np.sin(9 * x + 2 * z) * np.cos(7 * y - 3 * z)
    affine = np.diag([-2.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = (48.0, -48.0, -48.0)
    return Volume(np.where(body, waves, -1000.0).round().astype(np.int16), affine)


@torch.no_grad()
def golden_features(encoder: Encoder, preprocess: Callable[[Volume], Tensor]) -> tuple[float, ...]:
    """Return the first values of the embedding of the synthetic volume."""
    was_training = encoder.training
    encoder.eval()
    tensor = preprocess(golden_volume()).to(next(encoder.parameters()).device)
    embedding = encoder.embed(tensor.repeat(1, encoder.in_channels, *(1,) * encoder.spatial_dims))
    encoder.train(was_training)
    return tuple(float(value) for value in embedding.flatten()[:_FEATURES].cpu())
