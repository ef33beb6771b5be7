"""Contrast: what belongs together is nearer than what does not.

Papers: NT-Xent, Chen et al. 2020, arXiv:2002.05709; InfoNCE, van den Oord et al. 2018,
arXiv:1807.03748; mixed hard negatives, Kalantidis et al. 2020, arXiv:2010.01028; dense contrast,
Wang et al. 2021, arXiv:2011.09157.
Ours differs: who must not be a negative is an argument, because crops of one patient overlap; two
voxels belong together by where they were read, not by their features.

All is computed in float32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.parts.points import MatchedPoints

__all__ = ["cosines", "dense_contrast", "info_nce", "mix_negatives", "nt_xent", "unit"]


def unit(vectors: Tensor) -> Tensor:
    """Return float32 vectors ``(…, D)`` of length 1; one of zeros stays."""
    with torch.autocast(vectors.device.type, enabled=False):
        return F.normalize(vectors.float(), dim=-1)


def cosines(first: Tensor, second: Tensor) -> Tensor:
    """Return the products of float32 vectors of length 1, ``(n, m)``, exact under autocast too."""
    with torch.autocast(first.device.type, enabled=False):
        return first @ second.mT


def info_nce(
    positive: Tensor, negative: Tensor, *, temperature: float, allowed: Tensor | None = None
) -> Tensor:
    """Return how surely each row's positive is told from its negatives.

    Args:
        positive: ``(n,)`` similarity of each row to what belongs to it.
        negative: ``(n, m)`` similarities to everything else.
        temperature: What similarities are divided by.
        allowed: ``(n, m)`` boolean, False where an entry is no negative; None allows all.

    Returns:
        ``(n,)`` losses; 0 for a row without negatives.
    """
    with torch.autocast(positive.device.type, enabled=False):
        if allowed is not None:
            negative = negative.masked_fill(~allowed, -torch.inf)
        logits = torch.cat([positive.unsqueeze(1), negative], dim=1).float() / temperature
        return torch.logsumexp(logits, dim=1) - logits[:, 0]


def nt_xent(
    first: Tensor, second: Tensor, *, temperature: float = 0.5, same: Tensor | None = None
) -> Tensor:
    """Return SimCLR's loss: each row's other view against all other rows, of both views.

    Args:
        first: ``(n, D)`` embeddings of one view.
        second: ``(n, D)`` embeddings of the other, rows in line.
        temperature: What cosines are divided by.
        same: ``(n, n)`` boolean, True for rows that show anatomy in common and are no negatives of
            each other; None takes all rows for strangers.

    Returns:
        A scalar.

    Example:
        >>> nt_xent(torch.eye(2), torch.eye(2), temperature=1.0)
        tensor(0.5514)
    """
    with torch.autocast(first.device.type, enabled=False):
        both = unit(torch.cat([first, second]))
        cosine = both @ both.mT
        count = len(first)
        known = torch.eye(count, dtype=torch.bool) if same is None else same
        strangers = ~known.to(first.device).fill_diagonal_(True).repeat(2, 2)
        positive = torch.cat([cosine.diagonal(count), cosine.diagonal(-count)])
        return info_nce(positive, cosine, temperature=temperature, allowed=strangers).mean()


@torch.no_grad()
def mix_negatives(
    queries: Tensor,
    bank: Tensor,
    allowed: Tensor,
    generator: torch.Generator,
    *,
    hardest: int,
    mixed: int,
    with_query: int,
    clip: float = 0.95,
) -> tuple[Tensor, Tensor]:
    """Make negatives that are harder than any in a bank, by mixing its hardest ones.

    What is all but equal to the query is most likely the same anatomy, seen in another patient or
    at another time: it takes no part.

    Args:
        queries: ``(n, D)`` of length 1.
        bank: ``(m, D)`` of length 1, negatives of earlier steps.
        allowed: ``(n, m)`` boolean, False where an entry is no negative of a query.
        generator: Source of pairs and shares, on the device of the queries.
        hardest: How many of the nearest negatives are mixed.
        mixed: Mixtures of two of them, for each query.
        with_query: Mixtures of one of them with at most half of the query.
        clip: Cosine above which a negative is taken for a false one.

    Returns:
        ``(n, mixed + with_query, D)`` of length 1, without gradient, and ``(n, mixed +
        with_query)`` boolean: False where there were too few negatives to mix.
    """
    cosine = cosines(queries, bank)
    cosine = cosine.masked_fill(~allowed | (cosine > clip), -torch.inf)
    nearness, nearest = cosine.topk(min(hardest, bank.shape[0]), dim=1)
    found = nearness.isfinite().sum(dim=1, keepdim=True)

    def pick(count: int) -> Tensor:
        """Return random ones of the hardest, ``(n, count, D)``."""
        chance = torch.rand(len(queries), count, generator=generator, device=queries.device)
        # the nearest come first, so those that may not take part are the last
        choice = (chance * found).long().clamp(max=nearest.shape[1] - 1)
        return bank[nearest.gather(1, choice)]

    def share(count: int) -> Tensor:
        return torch.rand(len(queries), count, 1, generator=generator, device=queries.device)

    even, part = share(mixed), share(with_query) / 2
    pairs = even * pick(mixed) + (1 - even) * pick(mixed)
    towards = part * queries.unsqueeze(1) + (1 - part) * pick(with_query)
    made = unit(torch.cat([pairs, towards], dim=1))
    return made, (found > 0).expand(-1, made.shape[1])


def dense_contrast(
    points: MatchedPoints, same: Tensor, *, temperature: float = 0.2, radius: float = 1.0
) -> Tensor:
    """Return how surely each place is told from other places, both ways between two views.

    Args:
        points: Of all crops.
        same: ``(n, n)`` boolean, True for crops that overlap: their places are no negatives.
        temperature: What cosines are divided by.
        radius: Places of one crop that are at most so many cells apart along every axis are no
            negatives either.

    Returns:
        A scalar, the mean over places that both views show; 0 if there are none.
    """
    with torch.autocast(points.first.device.type, enabled=False):
        crops, count = points.seen.shape
        first, second = (unit(each.flatten(0, 1)) for each in (points.first, points.second))
        cosine = second @ first.mT
        places = points.where.flatten(0, 1).float()
        far = torch.cdist(places, places, p=torch.inf) > radius
        crop = torch.arange(crops, device=first.device).repeat_interleave(count)
        strangers = ~same.to(first.device)[crop][:, crop]
        own = crop.unsqueeze(1) == crop.unsqueeze(0)
        seen = points.seen.flatten()
        allowed = ((strangers & ~own) | (own & far)) & seen
        positive = cosine.diagonal()
        there, back = (
            info_nce(positive, each, temperature=temperature, allowed=allowed)
            for each in (cosine, cosine.mT)
        )
        return ((there + back) * seen).sum() / (2 * seen.sum().clamp(min=1))
