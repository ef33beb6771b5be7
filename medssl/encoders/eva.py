"""Transformer blocks of EVA-02 with rotary positions along each axis, under timm's names.

Fang et al. 2023, "EVA-02", arXiv:2303.11331; rotary positions: Su et al. 2021, arXiv:2104.09864.
Compared with :mod:`medssl.encoders.vit`: queries, keys and values are projected apart (keys without
a bias), a norm follows the heads and another the gate, and each branch is scaled by a learned
vector.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.errors import ConfigError

__all__ = ["EvaBlock", "check_pairs", "initialise_blocks", "rotary_angles", "rotate"]

BASE = 10000.0


def check_pairs(width: int, heads: int) -> None:
    """See that the features of each head come in pairs.

    Raises:
        ConfigError: If they do not.
    """
    if width // heads % 2:
        raise ConfigError(
            f"{width} features in {heads} heads are {width // heads} each; rotary positions turn "
            "pairs, so take an even number of features for each head"
        )


def rotary_angles(
    grid: Sequence[int],
    head: int,
    *,
    order: Sequence[int] | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Return by how much each pair of a head's features is turned at each token.

    The pairs are shared out among the axes. What does not divide is not turned, as with a head of
    66 features in 2D; in 3D, the published widths divide.

    Args:
        grid: Tokens along each axis.
        head: Features of a head, even.
        order: Which axis gets the first pairs, which the next; by default as they come.
        device: Where they are wanted.

    Returns:
        ``(tokens, head / 2)`` in radians, float32, the first axis slowest.

    Example:
        >>> rotary_angles((2, 3, 4), 12).shape
        torch.Size([24, 6])
    """
    count = head // (2 * len(grid))
    bands = BASE ** -(torch.arange(count, dtype=torch.float32, device=device) / max(1, count))
    lines = [torch.arange(cells, dtype=torch.float32, device=device) for cells in grid]
    places = torch.meshgrid(*lines, indexing="ij")
    turns = [places[axis].flatten().unsqueeze(1) * bands for axis in order or range(len(grid))]
    rest = head // 2 - count * len(grid)
    turns.append(torch.zeros(math.prod(grid), rest, device=device))
    return torch.cat(turns, dim=1)


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Turn neighbouring pairs of features.

    Args:
        x: ``(B, heads, tokens, head)``.
        angles: ``(1 or B, 1, tokens, head / 2)`` in radians.

    Returns:
        A tensor of the shape of ``x``, in the more precise dtype of the two.
    """
    even, odd = x[..., ::2], x[..., 1::2]
    sine, cosine = angles.sin(), angles.cos()
    return torch.stack((even * cosine - odd * sine, odd * cosine + even * sine), -1).flatten(-2)


class EvaAttention(nn.Module):
    """Attention whose queries and keys are turned by their places, and a norm after it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        """Return ``(B, tokens, width)``."""
        query, key, value = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.q_proj, self.k_proj, self.v_proj)
        )
        query, key = (rotate(part, angles).to(value.dtype) for part in (query, key))
        found = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.proj(self.norm(found.transpose(1, 2).flatten(2)))
        return out


class GatedPerceptron(nn.Module):
    """SwiGLU: one projection opens and closes the other; a norm follows."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1_g = nn.Linear(width, hidden)
        self.fc1_x = nn.Linear(width, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the shape of ``x``."""
        out: Tensor = self.fc2(self.norm(F.silu(self.fc1_g(x)) * self.fc1_x(x)))
        return out


class EvaBlock(nn.Module):
    """Attention and a gated perceptron, each after a norm and scaled before it is added.

    Args:
        width: Features of a token.
        heads: They divide the width.
        hidden: Features inside the perceptron.
        scale: What the learned scale of each branch starts at.
    """

    def __init__(self, width: int, heads: int, hidden: int, scale: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = EvaAttention(width, heads)
        self.gamma_1 = nn.Parameter(torch.full((width,), scale))
        self.norm2 = nn.LayerNorm(width)
        self.mlp = GatedPerceptron(width, hidden)
        self.gamma_2 = nn.Parameter(torch.full((width,), scale))

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        """Return ``(B, tokens, width)``.

        Args:
            x: ``(B, tokens, width)``.
            angles: ``(1 or B, 1, tokens, width / heads / 2)`` in radians.
        """
        x = x + self.gamma_1 * self.attn(self.norm1(x), angles)
        out: Tensor = x + self.gamma_2 * self.mlp(self.norm2(x))
        return out


def initialise_blocks(blocks: nn.ModuleList) -> None:
    """Draw weights from a narrow normal, and less of it the deeper a block adds to the sum."""
    for number, block in enumerate(blocks, start=1):
        for part in block.modules():
            if isinstance(part, nn.Linear):
                nn.init.trunc_normal_(part.weight, std=0.02)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)
        if isinstance(block, EvaBlock):
            for last in (block.attn.proj, block.mlp.fc2):
                last.weight.data.div_(math.sqrt(2.0 * number))
