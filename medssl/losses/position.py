"""The losses of VoCo: say from its features where in the volume a crop lies.

Paper: Wu et al. 2024, arXiv:2402.17300, and its extension, arXiv:2410.09890; reference code
    Luffy03/VoCo and
Luffy03/Large-Scale-Medical. The released code and the paper differ in places; every variant is an
argument.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.errors import ConfigError

__all__ = [
    "Negative",
    "inter_volume_loss",
    "position_accuracy",
    "position_loss",
    "position_terms",
    "predicted_overlap",
    "regularisation",
]

Negative = Literal["square", "log"]
# As in the reference code: keeps the logarithm finite when a prediction is as wrong as can be.
EPSILON = 1e-6


def predicted_overlap(crops: Tensor, bases: Tensor, overlap: Tensor | None = None) -> Tensor:
    """Return the overlap that the features of crops and base crops tell: ``relu(cos(z, q))``.

    The published form stops learning where a crop and a base that overlap have come to lie on
    opposite sides: there the slope of ``relu`` is 0. Ours keeps the slope of the cosine for them.

    Args:
        crops: ``(…, K, D)`` embeddings of the random crops.
        bases: ``(…, N, D)`` embeddings of the base crops.
        overlap: ``(…, K, N)`` true overlaps, which say where the slope is kept; none keeps it
            nowhere.

    Returns:
        ``(…, K, N)`` float32 in [0, 1].

    Example:
        >>> predicted_overlap(torch.eye(2)[None], torch.eye(2)[None])
        tensor([[[1., 0.],
                 [0., 1.]]])
    """
    with torch.autocast(crops.device.type, enabled=False):
        unit_crops = F.normalize(crops.float(), dim=-1)
        unit_bases = F.normalize(bases.float(), dim=-1)
        cosine = unit_crops @ unit_bases.mT
        answered = cosine.clamp(min=0.0, max=1.0)
        if overlap is None:
            return answered
        return torch.where(overlap > 0, cosine + (answered - cosine).detach(), answered)


@torch.no_grad()
def position_accuracy(crops: Tensor, bases: Tensor, overlap: Tensor) -> Tensor:
    """Return the share of the crops whose most similar base is the one they overlap most.

    A guess is right once in as many times as there are bases.

    Args:
        crops: ``(…, K, D)`` embeddings of the random crops.
        bases: ``(…, N, D)`` embeddings of the base crops.
        overlap: ``(…, K, N)`` true overlaps.

    Returns:
        A scalar, without gradient.

    Example:
        >>> position_accuracy(torch.eye(2), torch.eye(2), torch.tensor([[0.9, 0.1], [0.6, 0.4]]))
        tensor(0.5000)
    """
    with torch.autocast(crops.device.type, enabled=False):
        cosine = F.normalize(crops.float(), dim=-1) @ F.normalize(bases.float(), dim=-1).mT
    # The overlap of the base that is answered, and not its number: two may be overlapped alike.
    answered = overlap.gather(-1, cosine.argmax(dim=-1, keepdim=True)).squeeze(-1)
    return (answered >= overlap.amax(dim=-1)).float().mean()


def position_terms(
    overlap: Tensor, predicted: Tensor, *, negative: Negative = "square"
) -> tuple[Tensor, Tensor]:
    """Return the two parts of :func:`position_loss`: bases that a crop meets, and bases it misses.

    Args:
        overlap: ``(…, K, N)`` share of each crop that lies in each base, at most 1 in sum over the
            bases.
        predicted: Of the same shape, from :func:`predicted_overlap`.
        negative: What a base that is not met costs: ``square`` (VoCo 1) or ``log`` (VoCo 2).

    Returns:
        Two scalars, each a mean over crops.

    Raises:
        ConfigError: If ``negative`` is not known.
        ValueError: If the shapes differ.
    """
    if overlap.shape != predicted.shape:
        raise ValueError(
            f"overlaps {tuple(overlap.shape)} and predictions {tuple(predicted.shape)} "
            "must agree in shape"
        )
    overlap, predicted = overlap.float(), predicted.float()
    met_cost = overlap * -torch.log(1.0 - (overlap - predicted).abs() + EPSILON)
    met = met_cost.sum(dim=-1) / overlap.sum(dim=-1).clamp(min=EPSILON)
    if negative == "square":
        cost = predicted.square()
    elif negative == "log":
        cost = -torch.log(1.0 - predicted + EPSILON)
    else:
        raise ConfigError(f'negatives can be "square" or "log", not "{negative}"')
    missed = (overlap == 0).float()
    not_met = (cost * missed).sum(dim=-1) / missed.sum(dim=-1).clamp(min=1.0)
    return met.mean(), not_met.mean()


def position_loss(overlap: Tensor, predicted: Tensor, *, negative: Negative = "square") -> Tensor:
    """Return how wrong the predicted overlaps are: VoCo's ``L_pos + L_neg``.

    Args:
        overlap: ``(…, K, N)`` share of each crop that lies in each base, at most 1 in sum over the
            bases.
        predicted: Of the same shape, from :func:`predicted_overlap`.
        negative: What a base that is not met costs: ``square`` (VoCo 1) or ``log`` (VoCo 2).

    Returns:
        A scalar.
    """
    met, not_met = position_terms(overlap, predicted, negative=negative)
    return met + not_met


def regularisation(bases: Tensor, *, power: int = 2) -> Tensor:
    """Push the base crops of one volume apart, so that positions can be told from each other.

    ``2 / (N (N - 1)) * sum_{i<j} relu(cos(q_i, sg(q_j))) ** power``, a mean over volumes.

    Args:
        bases: ``(…, N, D)`` embeddings of the base crops of each volume.
        power: 2 as in VoCo, or 1 as in nnssl.

    Returns:
        A scalar.

    Raises:
        ConfigError: If the power is neither 1 nor 2, or there are fewer than two bases.
    """
    if power not in (1, 2):
        raise ConfigError(f"the regularisation power was {power}; it can be 1 or 2")
    count = bases.shape[-2]
    if count < 2:
        raise ConfigError(f"a grid of {count} base crops has nothing to tell apart; use at least 2")
    likeness = predicted_overlap(bases, bases.detach()) ** power
    pairs = torch.ones(count, count, device=bases.device).triu(diagonal=1)
    return (likeness * pairs).sum(dim=(-2, -1)).mean() * 2.0 / (count * (count - 1))


def inter_volume_loss(
    crops: Tensor,
    bases: Tensor,
    teacher_crops: Tensor,
    teacher_bases: Tensor,
    *,
    negative: Negative = "log",
    pairs: Literal["all", "next"] = "all",
) -> Tensor:
    """Ask the student for the overlaps that its teacher sees between different volumes.

    The reference pairs volume ``i`` with ``i + 1`` of the batch, so that the loss depends on the
    order of the batch; ``pairs="all"`` takes every ordered pair and equals it for a batch of two.

    Args:
        crops: ``(B, K, D)`` student embeddings of random crops.
        bases: ``(B, N, D)`` student embeddings of base crops.
        teacher_crops: ``(B, K, D)`` teacher embeddings of the same crops.
        teacher_bases: ``(B, N, D)`` teacher embeddings of the same bases.
        negative: As in :func:`position_loss`.
        pairs: ``all`` ordered pairs of volumes, or each with the ``next``.

    Returns:
        A scalar; 0 for a batch of one volume, which has no other.
    """
    batch = crops.shape[0]
    if batch < 2:
        return (crops.float().sum() + bases.float().sum()) * 0.0
    shifts = range(1, batch) if pairs == "all" else (1,)
    losses = []
    for shift in shifts:
        other = torch.roll(bases, -shift, dims=0)
        target = predicted_overlap(teacher_crops, torch.roll(teacher_bases, -shift, dims=0))
        losses.append(
            position_loss(target.detach(), predicted_overlap(crops, other), negative=negative)
        )
    return torch.stack(losses).mean()
