"""A narrow transformer that says what features would be where nothing was seen.

Assran et al. 2023, arXiv:2301.08243 (I-JEPA). Ours differs: places are numbers and not indices, so
that it can be asked about places outside of what was seen, at another scale; a description of what
was done to the image may come with the question (image world models, arXiv:2403.00504); the last
block computes the asked places alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.errors import ConfigError
from medssl.parts.heads import mlp

__all__ = ["Predictor", "cell_places", "wave_positions"]


def cell_places(grid: Sequence[int], *, device: torch.device | None = None) -> Tensor:
    """Return the middle of each cell of a grid, ``(cells, d)``, in cells from the first corner.

    Example:
        >>> cell_places((1, 2)).tolist()
        [[0.5, 0.5], [0.5, 1.5]]
    """
    axes = [torch.arange(n, dtype=torch.float32, device=device) + 0.5 for n in grid]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, -2)


def wave_positions(places: Tensor, width: int) -> Tensor:
    """Return sine and cosine of places along each axis, from one radian a cell to very slow.

    Args:
        places: ``(…, d)`` in cells, of any sign.
        width: Number of features; what does not divide among the axes stays 0.

    Returns:
        ``(…, width)`` float32.
    """
    dims = places.shape[-1]
    count = width // (2 * dims)
    steps = torch.arange(count, dtype=torch.float32, device=places.device)
    angles = places.float().unsqueeze(-1) * 10000.0 ** -(steps / max(1, count))
    waves = torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(-2)
    return F.pad(waves, (0, width - 2 * dims * count))


class Block(nn.Module):
    """Attention and a perceptron, each after a norm, for the last ``count`` tokens alone."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.project = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor, count: int) -> Tensor:
        """Return ``(B, count, width)`` from ``(B, tokens, width)``."""
        normed = self.norm1(x)
        asked = x[:, -count:]
        query = self._split(self.query(normed[:, -count:]))
        key, value = (self._split(part) for part in self.key_value(normed).chunk(2, dim=-1))
        mixed = F.scaled_dot_product_attention(query, key, value)
        asked = asked + self.project(mixed.transpose(1, 2).flatten(2))
        answer: Tensor = asked + self.mlp(self.norm2(asked))
        return answer

    def _split(self, x: Tensor) -> Tensor:
        """Return ``(B, heads, tokens, width of a head)``."""
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)


class Predictor(nn.Module):
    """From features at some places to features at others.

    Args:
        features: Length of a feature vector, in and out.
        width: Features of a token within.
        depth: Transformer blocks.
        heads: Attention heads; by default one for 32 features.
        conditions: Numbers that describe a question besides its place; 0 for none.

    Raises:
        ConfigError: If heads do not divide the width, or there is no block.
    """

    def __init__(
        self,
        features: int,
        *,
        width: int = 384,
        depth: int = 6,
        heads: int | None = None,
        conditions: int = 0,
    ) -> None:
        super().__init__()
        heads = max(1, width // 32) if heads is None else heads
        if width % heads or depth < 1:
            raise ConfigError(
                f"a predictor of {width} features, {depth} blocks and {heads} heads was asked for; "
                "heads must divide the features, and there must be at least one block"
            )
        self.width = width
        self.embed = nn.Linear(features, width)
        self.asking_token = nn.Parameter(torch.zeros(width))
        self.condition = (
            mlp(conditions, width, width, layers=3, norm="none") if conditions else None
        )
        self.blocks = nn.ModuleList(Block(width, heads, 4 * width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, features)
        nn.init.trunc_normal_(self.asking_token, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(
        self, seen: Tensor, seen_places: Tensor, places: Tensor, condition: Tensor | None = None
    ) -> Tensor:
        """Return the features at the asked places, ``(B, m, features)``.

        Args:
            seen: ``(B, n, features)``.
            seen_places: ``(B, n, d)`` in cells, see :func:`cell_places`.
            places: ``(B, m, d)``, those that are asked about, in the same coordinates.
            condition: ``(B, conditions)``.
        """
        known = self.embed(seen)
        asking = self.asking_token.expand(len(seen), 1, -1)
        if self.condition is not None and condition is not None:
            asking = asking + self.condition(condition).unsqueeze(1)
        # positions in float32, so that under autocast sums stay there
        known = known + wave_positions(seen_places, self.width)
        x = torch.cat([known, asking + wave_positions(places, self.width)], dim=1)
        count = places.shape[1]
        for block in self.blocks[:-1]:
            x = block(x, x.shape[1])
        answer: Tensor = self.head(self.norm(self.blocks[-1](x, count)))
        return answer
