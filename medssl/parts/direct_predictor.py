"""What keeps methods without negatives from collapse: a predictor between one view and another."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from medssl.errors import ConfigError
from medssl.parts.gather import gather
from medssl.parts.heads import Norm, mlp

__all__ = ["DirectPredictor", "PredictorKind", "make_predictor"]

PredictorKind = Literal["mlp", "direct"]

KEPT = 16
"""Passes between two steps whose embeddings count."""


class DirectPredictor(nn.Module):
    """A linear predictor that is computed, not trained: DirectPred.

    It stretches each principal direction of the embeddings by the square root of what lies along
    it, which is what a trained linear predictor tends to (Tian et al. 2021, arXiv:2102.06810).
    Until the first :meth:`update` it predicts what it is given. The cost of an update grows with
    the cube of the width.

    Args:
        width: Length of an embedding.
        memory: Share of the correlation that stays at an update.
        floor: Added to every stretch, as a share of the greatest, so that no direction dies out.

    Attributes:
        correlation: ``(width, width)`` running mean of the products of an embedding with itself.
        weight: ``(width, width)`` the predictor.
    """

    correlation: Tensor
    weight: Tensor

    def __init__(self, width: int, *, memory: float = 0.3, floor: float = 0.1) -> None:
        super().__init__()
        self.memory = memory
        self.floor = floor
        self.register_buffer("correlation", torch.zeros(width, width))
        self.register_buffer("weight", torch.eye(width))
        self._seen: list[Tensor] = []

    def forward(self, embedding: Tensor) -> Tensor:
        """Return the prediction ``(n, width)`` in float32, and note what was embedded."""
        with torch.autocast(embedding.device.type, enabled=False):
            values = embedding.float()
            if self.training:
                joint = gather(values.detach())
                self._seen = [*self._seen[1 - KEPT :], joint.mT @ joint / len(joint)]
            return values @ self.weight.mT

    @torch.no_grad()
    def update(self) -> None:
        """Follow the embeddings since the last update; to be called after a step."""
        if not self._seen:
            return
        fresh = torch.stack(self._seen).mean(dim=0)
        self._seen = []
        self.correlation.copy_(self.memory * self.correlation + (1 - self.memory) * fresh)
        along, directions = torch.linalg.eigh(self.correlation)
        # rounding can leave the least of them below 0
        stretch = (along / along[-1].clamp(min=1e-12)).clamp(min=0.0).sqrt() + self.floor
        self.weight.copy_((directions * stretch) @ directions.mT)


def make_predictor(kind: PredictorKind, width: int, hidden: int, *, norm: Norm) -> nn.Module:
    """Build a predictor from embeddings to embeddings.

    Args:
        kind: ``mlp`` is trained; ``direct`` is computed, see :class:`DirectPredictor`.
        width: Length of an embedding.
        hidden: Hidden features of a trained one.
        norm: What stands between its layers.

    Raises:
        ConfigError: If the kind is not known.
    """
    if kind == "direct":
        return DirectPredictor(width)
    if kind != "mlp":
        raise ConfigError(f'a predictor can be "mlp" or "direct", not "{kind}"')
    return mlp(width, hidden, width, norm=norm)
