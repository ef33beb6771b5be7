"""Whether features still differ from one input to the next: RankMe, spread, likeness.

RankMe: Garrido et al. 2023, arXiv:2210.02885. Compare runs of *one* method only; it says how many
directions the features use, not whether those directions are good ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

__all__ = [
    "CollapseFigures",
    "alpha_req",
    "collapse_figures",
    "feature_spread",
    "mean_likeness",
    "rankme",
]

EPSILON = 1e-7
"""Added to each share of the spectrum, as in the paper, so that its logarithm exists."""


@dataclass(frozen=True)
class CollapseFigures:
    """What a set of features says about itself, without any target.

    Attributes:
        inputs: Number of feature vectors.
        dimensions: Length of a vector.
        rankme: Effective rank, from 1 (all alike) to ``min(inputs, dimensions)``.
        alpha: How fast the spectrum falls, see :func:`alpha_req`.
        spread: How far unit vectors scatter: 0 if all point one way, 1 if they fill the space
            evenly.
        likeness: Mean cosine of two different inputs; 1 if all point one way.
    """

    inputs: int
    dimensions: int
    rankme: float
    alpha: float
    spread: float
    likeness: float

    @property
    def note(self) -> str:
        """What a reader must know before comparing the rank with another one; empty if nothing."""
        if self.inputs > self.dimensions:
            return ""
        return (
            f"RankMe of {self.inputs} inputs cannot exceed {self.inputs}, whatever the "
            f"{self.dimensions} dimensions hold; compare it with the same number of inputs only"
        )


def collapse_figures(features: Tensor) -> CollapseFigures:
    """Return rank, spread and likeness of a set of features.

    Args:
        features: ``(n, d)``, one vector an input.

    Raises:
        ValueError: If it is not a finite ``(n, d)`` tensor with at least two inputs.
    """
    vectors = _checked(features)
    return CollapseFigures(
        inputs=vectors.shape[0],
        dimensions=vectors.shape[1],
        rankme=rankme(vectors),
        alpha=alpha_req(vectors),
        spread=feature_spread(vectors),
        likeness=mean_likeness(vectors),
    )


def rankme(features: Tensor) -> float:
    """Return the effective rank: the exponential of the entropy of the singular values.

    Args:
        features: ``(n, d)``, one vector an input; not centred, as in the paper.

    Raises:
        ValueError: If it is not a finite ``(n, d)`` tensor with at least two inputs.

    Example:
        >>> import torch
        >>> round(rankme(torch.eye(4)), 3)
        4.0
    """
    values = torch.linalg.svdvals(_checked(features))
    shares = values / values.sum().clamp_min(torch.finfo(values.dtype).tiny) + EPSILON
    return float(torch.exp(-(shares * shares.log()).sum()))


def alpha_req(features: Tensor) -> float:
    """Return the exponent by which the eigenvalues of the features' covariance fall.

    Features near 1 were found to transfer best; far above it few directions hold everything, near 0
    all directions are alike. Agrawal et al. 2022, arXiv:2202.05808. Here the line through the
    logarithms of eigenvalue and rank is that of least squares over all that rounding leaves, and 0
    for features that are all one.

    Args:
        features: ``(n, d)``, one vector an input.

    Raises:
        ValueError: If it is not a finite ``(n, d)`` tensor with at least two inputs.
    """
    vectors = _checked(features)
    eigenvalues = torch.linalg.svdvals(vectors - vectors.mean(dim=0)).square()
    eigenvalues = eigenvalues[eigenvalues > EPSILON * eigenvalues[0].clamp(min=EPSILON)]
    if len(eigenvalues) < 2:
        return 0.0
    ranks = torch.arange(1, len(eigenvalues) + 1, dtype=torch.float64).log()
    heights = eigenvalues.log()
    centred = ranks - ranks.mean()
    return float(-(centred * heights).sum() / centred.square().sum())


def feature_spread(features: Tensor) -> float:
    """Return how far the directions of the features scatter, from 0 (collapsed) to about 1.

    It is the standard deviation of each coordinate of the unit vectors, times the square root of
    the
    dimension: the figure by which SimSiam (arXiv:2011.10566) tells collapse.

    Args:
        features: ``(n, d)``, one vector an input.

    Raises:
        ValueError: If it is not a finite ``(n, d)`` tensor with at least two inputs.
    """
    units = functional.normalize(_checked(features), dim=1)
    return float(units.std(dim=0, correction=0).square().mean().sqrt() * units.shape[1] ** 0.5)


def mean_likeness(features: Tensor) -> float:
    """Return the mean cosine between the features of two different inputs.

    Args:
        features: ``(n, d)``, one vector an input.

    Raises:
        ValueError: If it is not a finite ``(n, d)`` tensor with at least two inputs.
    """
    units = functional.normalize(_checked(features), dim=1)
    count = units.shape[0]
    # The sum over all pairs is the squared length of the sum of the vectors.
    everything = units.sum(dim=0).square().sum() - units.square().sum()
    return float(everything / (count * (count - 1)))


def _checked(features: Tensor) -> Tensor:
    """Return the features in float64, where the tail of a spectrum is still told from zero."""
    if features.ndim != 2 or features.shape[0] < 2:
        raise ValueError(
            f"features have shape {tuple(features.shape)}; expected (n, d) with at least two inputs"
        )
    vectors = features.detach().cpu().double()
    if not torch.isfinite(vectors).all():
        raise ValueError("some features are not finite; leave out the inputs they came from")
    return vectors
