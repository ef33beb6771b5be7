"""Contrast of slices and of their parts, by where they lie in the body.

Paper: Chaitanya et al. 2020, arXiv:2006.10511; reference code krishnabits001/domain_specific_cl.
Which slices are positives and which are negatives is told by masks that the caller makes from the
slices' partitions; the reference code counts on a batch of exactly four slices a volume.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["nearest_regions", "pair_contrast", "region_contrast", "slice_pairs"]

# Stands for the logarithm of 0 where something is no negative: cosines over a temperature stay far
# above, and minus infinity would make the slope of an anchor without negatives undefined.
ABSENT = -1e4


def pair_contrast(
    embeddings: Tensor, positive: Tensor, negative: Tensor, *, temperature: float = 0.1
) -> Tensor:
    """Return the mean over positive pairs of ``-log(e^s / (e^s + sum of e^s over negatives))``.

    Each pair has only itself and the negatives of its first member below the line, ``s`` being the
    cosine over the temperature. A pair counts in both directions if the mask says so.

    Args:
        embeddings: ``(…, n, D)``.
        positive: ``(…, n, n)`` boolean; the diagonal is False.
        negative: ``(…, n, n)`` boolean.
        temperature: What cosines are divided by.

    Returns:
        A scalar; 0 if there is no positive pair.

    Example:
        >>> apart = torch.eye(2)[None].repeat(2, 1, 1).flatten(0, 1)  # a, b, a, b
        >>> same = torch.eye(2, dtype=torch.bool).repeat(2, 2)
        >>> loss = pair_contrast(apart, same & ~torch.eye(4, dtype=torch.bool), ~same)
        >>> bool(loss < 1e-3)
        True
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        unit = F.normalize(embeddings.float(), dim=-1)
        scores = unit @ unit.mT / temperature
        return _mean_cost(scores, _denominator(scores, negative), positive)


def slice_pairs(place: Tensor, level: Tensor, versions: int, *, kind: str) -> tuple[Tensor, Tensor]:
    """Return which versions of which slices are positives and which negatives of each other.

    Args:
        place: ``(n,)`` number of the volume that each slice is of.
        level: ``(n,)`` where in the body it lies.
        versions: Of each slice, one after the other.
        kind: ``random`` takes all other slices for negatives (G^R); ``apart`` not those at the same
            level (G^D-); ``matched`` takes those of other volumes, in the same version, for
            positives (G^D).

    Returns:
        Positives and negatives, ``(n * versions, n * versions)`` boolean.
    """
    number = torch.arange(len(place) * versions, device=place.device)
    slices, version = number // versions, number % versions
    place, level = place[slices], level[slices]
    same, same_version = slices[:, None] == slices, version[:, None] == version
    same_level = level[:, None] == level
    positive = same & ~same_version
    if kind == "matched":
        positive = positive | (same_level & (place[:, None] != place) & same_version)
    return positive, ~same if kind == "random" else ~same_level


def region_contrast(
    regions: Tensor, nearby: Tensor, alike: Tensor | None = None, *, temperature: float = 0.1
) -> Tensor:
    """Return the loss that tells a part of a slice from the parts around it: ``L^R`` or ``L^D``.

    The positive of a region is the same region in the other version of the slice; with ``alike``
    also, in the same version, the same region of slices at the same level of other volumes. The
    negatives are regions near it in its own slice, in both versions.

    Args:
        regions: ``(N, A, 2, D)`` for N slices, A regions and two versions.
        nearby: ``(A, A)`` boolean, which regions are the negatives of each; see
            :func:`nearest_regions`.
        alike: ``(N, N)`` boolean, which slices lie at the same level of another volume; none takes
            no positives from other slices.
        temperature: What cosines are divided by.

    Returns:
        A scalar, the mean over positive pairs.
    """
    count, places, versions, _ = regions.shape
    with torch.autocast(regions.device.type, enabled=False):
        unit = F.normalize(regions.float(), dim=-1)
        flat = unit.flatten(1, 2)
        scores = flat @ flat.mT / temperature
        negative = nearby.repeat_interleave(versions, 0).repeat_interleave(versions, 1)
        below = _denominator(scores, negative)
        number = torch.arange(places * versions, device=regions.device)
        same = number[:, None] // versions == number // versions
        own = (same & (number[:, None] != number)).expand_as(scores)
        total, pairs = _summed_cost(scores, below, own)
        if alike is not None:
            across = torch.einsum("nrd,mrd->rnm", flat, flat) / temperature
            below_across = below.view(count, -1).mT.unsqueeze(2)
            more, more_pairs = _summed_cost(across, below_across, alike.expand_as(across))
            total, pairs = total + more, pairs + more_pairs
        return total / pairs.clamp(min=1)


def nearest_regions(places: Tensor, count: int) -> Tensor:
    """Return which regions are the nearest others of each, ``(A, A)`` boolean.

    Args:
        places: ``(A, d)`` where the regions lie, in any unit.
        count: How many of the others are taken, as far as there are so many.
    """
    apart = torch.cdist(places.double(), places.double()).fill_diagonal_(torch.inf)
    chosen = apart.argsort(dim=1, stable=True)[:, : min(count, len(places) - 1)]
    return torch.zeros_like(apart, dtype=torch.bool).scatter_(1, chosen, True)


def _denominator(scores: Tensor, negative: Tensor) -> Tensor:
    """Return the logarithm of the sum over the negatives of each row, ``(…, n, 1)``."""
    return scores.masked_fill(~negative, ABSENT).logsumexp(dim=-1, keepdim=True)


def _summed_cost(scores: Tensor, below: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum over positive pairs, and their number."""
    # -log(e^s / (e^s + e^b)) = log(1 + e^(b - s))
    cost = F.softplus(below - scores)
    return (cost * positive).sum(), positive.sum()


def _mean_cost(scores: Tensor, below: Tensor, positive: Tensor) -> Tensor:
    total, pairs = _summed_cost(scores, below, positive.expand_as(scores))
    return total / pairs.clamp(min=1)
