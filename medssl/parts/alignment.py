"""Lays the features of one crop over the places of another, by attention across crops."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ConditionalAlignment"]


class ConditionalAlignment(nn.Module):
    """Answers for each place of one crop with what a corresponding crop holds of the same thing.

    Attention across crops and a perceptron, each normalised afterwards. The places that ask decide
    where to look and do not enter the answer: with the usual skip connection both sides of a loss
    would agree on what they were asked, whatever the other crop holds.

    Args:
        features: Length of a token.
        heads: Attention heads.
        head_width: Features of a head.
        hidden: Features inside the perceptron.

    Example:
        >>> import torch
        >>> align = ConditionalAlignment(24, heads=2, head_width=8, hidden=32)
        >>> align(torch.zeros(1, 8, 24), torch.zeros(1, 27, 24)).shape
        torch.Size([1, 8, 24])
    """

    def __init__(
        self, features: int, *, heads: int = 8, head_width: int = 64, hidden: int = 2048
    ) -> None:
        super().__init__()
        inner = heads * head_width
        self.heads = heads
        self.asked_norm = nn.LayerNorm(features)
        self.held_norm = nn.LayerNorm(features)
        self.asked = nn.Linear(features, inner, bias=False)
        self.held = nn.Linear(features, 2 * inner, bias=False)
        self.out = nn.Linear(inner, features)
        self.attention_norm = nn.LayerNorm(features)
        self.perceptron = nn.Sequential(
            nn.Linear(features, hidden), nn.GELU(), nn.Linear(hidden, features)
        )
        self.norm = nn.LayerNorm(features)

    def forward(self, asked: Tensor, held: Tensor) -> Tensor:
        """Return ``(B, n, features)``, what the second crop holds for each place of the first.

        Args:
            asked: ``(B, n, features)`` tokens of the crop whose places ask.
            held: ``(B, m, features)`` tokens of the crop that answers.
        """
        query = self._split(self.asked(self.asked_norm(asked)))
        key, value = self.held(self.held_norm(held)).chunk(2, dim=-1)
        found = F.scaled_dot_product_attention(query, self._split(key), self._split(value))
        aligned = self.attention_norm(self.out(found.transpose(1, 2).flatten(2)))
        answer: Tensor = self.norm(aligned + self.perceptron(aligned))
        return answer

    def _split(self, tokens: Tensor) -> Tensor:
        """Return tokens by head, ``(B, heads, n, head_width)``."""
        return tokens.view(*tokens.shape[:2], self.heads, -1).transpose(1, 2)
