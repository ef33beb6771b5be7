"""Joint embedding without negatives: features that agree between views and say different things.

Papers: Barlow Twins, Zbontar et al. 2021, arXiv:2103.03230; VICReg, Bardes et al. 2022,
arXiv:2105.04906; MMCR, Yerxa et al. 2023, arXiv:2303.03307.

All take the rows of the whole batch, those of other ranks too, and compute in float32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.losses.contrast import unit

__all__ = ["covariance_penalty", "cross_correlation", "manifold_capacity", "variance_hinge"]

EPSILON = 1e-4
"""VICReg's: keeps the slope of a standard deviation finite where features are all alike."""


def cross_correlation(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return Barlow Twins' two terms: features that disagree, and features that say the same.

    Args:
        first: ``(n, D)`` embeddings of one view.
        second: ``(n, D)`` embeddings of the other, rows in line.

    Returns:
        ``sum_i (1 - C_ii)^2`` and ``sum_{i != j} C_ij^2`` of the correlation ``C`` between the
        views.
    """
    with torch.autocast(first.device.type, enabled=False):
        one, other = (_standardised(each) for each in (first, second))
        correlation = one.mT @ other / len(one)
        diagonal = correlation.diagonal()
        agreement = (1.0 - diagonal).square().sum()
        return agreement, correlation.square().sum() - diagonal.square().sum()


def variance_hinge(embedding: Tensor, *, target: float = 1.0) -> Tensor:
    """Return by how much the features of a batch vary less than they should.

    Args:
        embedding: ``(n, D)``.
        target: Standard deviation that is enough.

    Returns:
        A scalar: the mean over features.
    """
    with torch.autocast(embedding.device.type, enabled=False):
        centred = embedding.float() - embedding.float().mean(dim=0)
        variance = centred.square().sum(dim=0) / max(len(centred) - 1, 1)
        return F.relu(target - (variance + EPSILON).sqrt()).mean()


def covariance_penalty(embedding: Tensor) -> Tensor:
    """Return how much features vary together: ``sum_{i != j} Cov_ij^2 / D``.

    Args:
        embedding: ``(n, D)``.

    Returns:
        A scalar.
    """
    with torch.autocast(embedding.device.type, enabled=False):
        centred = embedding.float() - embedding.float().mean(dim=0)
        covariance = centred.mT @ centred / max(len(centred) - 1, 1)
        together = covariance.square().sum() - covariance.diagonal().square().sum()
        return together / embedding.shape[1]


def manifold_capacity(views: Tensor) -> tuple[Tensor, Tensor]:
    """Return MMCR's two sizes: of the cloud of centres, and of the views around each centre.

    Sizes are nuclear norms. The first is to grow, which spreads the centres over all directions;
    centres are long only where the views agree.

    Args:
        views: ``(n, V, D)`` embeddings of V views of each crop.

    Returns:
        Two scalars; the second is a mean over crops.
    """
    with torch.autocast(views.device.type, enabled=False):
        directions = unit(views)
        centres = directions.mean(dim=1)
        return _nuclear_norm(centres), _nuclear_norm(directions).mean()


def _standardised(embedding: Tensor) -> Tensor:
    """Return features of mean 0 and variance 1 over the batch, as batch norm makes them."""
    values = embedding.float()
    variance, mean = torch.var_mean(values, dim=0, correction=0)
    return (values - mean) / (variance + 1e-5).sqrt()


def _nuclear_norm(matrices: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.svdvals(matrices)
    return lengths.sum(dim=-1)
