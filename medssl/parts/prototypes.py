"""Scores of an image against learned prototypes, and the centre that keeps one from winning all.

Caron et al. 2021, arXiv:2104.14294: the head of DINO, which iBOT and DINOv2 share.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.parts.gather import mean_over_ranks
from medssl.parts.heads import mlp

__all__ = ["Centre", "PrototypeHead"]


class PrototypeHead(nn.Module):
    """A perceptron, a unit vector, and its cosine with each of many prototypes.

    The reference's weight norm with a fixed length is the same function: here prototypes are
    brought to length 1 when they are used. No norm over samples, so that they never see each other.
    Ours differs: each vector is given mean 0 and variance 1 first, as a transformer's comes in
    anyway. What all vectors of a convolutional encoder share would else be most of every score, the
    teacher's answers would start even, and even they would stay.

    Args:
        in_features: Length of an input vector.
        prototypes: How many there are.
        hidden: Features between the layers.
        bottleneck: Length of the vector that is compared.
        layers: Linear layers before the prototypes.

    Example:
        >>> PrototypeHead(16, 64, hidden=32, bottleneck=8)(torch.ones(2, 16)).shape
        torch.Size([2, 64])
    """

    def __init__(
        self,
        in_features: int,
        prototypes: int = 65536,
        *,
        hidden: int = 2048,
        bottleneck: int = 256,
        layers: int = 3,
    ) -> None:
        super().__init__()
        self.mlp = mlp(in_features, hidden, bottleneck, layers=layers, norm="none")
        self.weight = nn.Parameter(torch.empty(prototypes, bottleneck))
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, vectors: Tensor, *, frozen: bool = False) -> Tensor:
        """Return cosines ``(n, prototypes)``.

        Args:
            vectors: ``(n, in_features)``.
            frozen: Whether the prototypes stay as they are, as in the first part of a run; their
                gradient is then 0, not absent, so that ranks agree about what has one.
        """
        weight = self.weight.detach() + 0.0 * self.weight if frozen else self.weight
        points = self.mlp(F.layer_norm(vectors, vectors.shape[-1:]))
        with torch.autocast(points.device.type, enabled=False):
            points, weight = F.normalize(points.float(), dim=-1), F.normalize(weight, dim=-1)
        return F.linear(points, weight)


class Centre(nn.Module):
    """Turns a teacher's scores into soft answers about a running mean of the scores themselves.

    Without it one prototype wins for every image. The mean is over the ranks too, and moves after
    the step, with all batches that were accumulated. Ours differs: it starts at the mean of the
    first scores and not at 0, from where it would take tens of steps to arrive, while the student
    learns answers that are alike for all.

    Args:
        prototypes: Length of a row of scores.
        momentum: Of the running mean.

    Attributes:
        centre: ``(prototypes,)``.
        started: Whether it has been updated.
    """

    centre: Tensor
    started: Tensor

    def __init__(self, prototypes: int, *, momentum: float = 0.9) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("centre", torch.zeros(prototypes))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))
        self._pending: Tensor | None = None
        self._batches = 0

    @torch.no_grad()
    def forward(self, scores: Tensor, temperature: float) -> Tensor:
        """Return ``(n, prototypes)`` probabilities, and keep the scores' mean for :meth:`update`.

        Args:
            scores: ``(n, prototypes)`` of the teacher, as many rows on every rank.
            temperature: Of its softmax.
        """
        with torch.autocast(scores.device.type, enabled=False):
            raw = scores.float()
            mean = mean_over_ranks(raw.mean(dim=0))
            self._pending = mean if self._pending is None else self._pending + mean
            self._batches += 1
            centre = torch.where(self.started, self.centre, mean)
            return ((raw - centre) / temperature).softmax(dim=-1)

    @torch.no_grad()
    def update(self) -> None:
        """Move the centre towards the mean of the scores since the last update."""
        if self._pending is not None:
            mean = self._pending / self._batches
            moved = self.centre.lerp(mean, 1.0 - self.momentum)
            self.centre.copy_(torch.where(self.started, moved, mean))
            self.started.fill_(True)
        self._pending, self._batches = None, 0
