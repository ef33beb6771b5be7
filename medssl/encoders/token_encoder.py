"""What transformers over tokens of voxels share: cutting, dropping and putting back."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from medssl.encoders.base import Encoder
from medssl.encoders.tokens import (
    gather_tokens,
    patchify,
    split_tokens,
    token_edges,
    token_mask,
    tokens_to_map,
)
from medssl.errors import ConfigError
from medssl.types import Shape

__all__ = ["MAPS", "TokenEncoder"]

MAPS = 4
"""Maps of features, at equal depths, as UNETR takes them."""


class TokenEncoder(Encoder):
    """A transformer that gives tokens at four depths and spends nothing on hidden ones.

    Attributes:
        token: Edges of a token in voxels.
        grid: Tokens of the usual crop along each axis.
        taken: The blocks whose output becomes a map.
    """

    drops_tokens = True
    token: Shape
    grid: Shape
    taken: tuple[int, ...]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the tokens after each quarter of the blocks as maps, shallow first."""
        tokens, grid = self._cut(x)
        return [tokens_to_map(taken, grid) for taken in self._encode(tokens, grid, None)]

    def forward_masked(self, x: Tensor, hidden: Tensor) -> list[Tensor]:
        """Return the maps of the visible tokens alone, zero at hidden places.

        Args:
            x: ``(B, C, X, Y, Z)``.
            hidden: ``(B, gx, gy, gz)``, True where hidden, equally often in each sample.

        Raises:
            ConfigError: If cells are not whole tokens, or samples hide different numbers.
        """
        tokens, grid = self._cut(x)
        visible, gone = split_tokens(token_mask(hidden, grid))
        if gone.shape[1] == 0:
            return [tokens_to_map(taken, grid) for taken in self._encode(tokens, grid, None)]
        place = visible.unsqueeze(-1).expand(-1, -1, self.channels[0])
        shape = (*tokens.shape[:2], self.channels[0])
        return [
            tokens_to_map(taken.new_zeros(shape).scatter(1, place, taken), grid)
            for taken in self._encode(gather_tokens(tokens, visible), grid, visible)
        ]

    def _plan(
        self,
        patch: tuple[int, ...],
        token: int | tuple[int, ...],
        spatial_dims: int,
        size: tuple[int, int, int],
    ) -> None:
        """Set what the contract asks for.

        Args:
            patch: Edges of the usual crop in voxels.
            token: Edge of a token, one number or one an axis.
            spatial_dims: 2 or 3.
            size: Features of a token, blocks and heads.

        Raises:
            ConfigError: If the sizes do not go together.
        """
        width, depth, heads = size
        self.token = token_edges(token, spatial_dims)
        edges = tuple(patch)[:spatial_dims]
        if width % heads or depth < MAPS:
            raise ConfigError(
                f"a transformer of {width} features, {depth} blocks and {heads} heads was asked "
                f"for; heads must divide the features, and there must be at least {MAPS} blocks"
            )
        if len(edges) < spatial_dims or any(p < t for p, t in zip(edges, self.token, strict=True)):
            raise ConfigError(
                f"a patch of {edges} voxels holds no token of {self.token}; enlarge data.patch or "
                "take smaller tokens (encoder.token)"
            )
        self.spatial_dims = spatial_dims
        self.channels = (width,) * MAPS
        self.strides = (self.token,) * MAPS
        self.grid = tuple(p // t for p, t in zip(edges, self.token, strict=True))
        self.taken = tuple(round(depth * (i + 1) / MAPS) - 1 for i in range(MAPS))

    def _cut(self, x: Tensor) -> tuple[Tensor, Shape]:
        """Pad ``x`` at its far end to whole tokens; return them as voxels, and their grid."""
        missing = [-size % edge for size, edge in zip(x.shape[2:], self.token, strict=True)]
        if any(missing):
            x = F.pad(x, [n for gap in reversed(missing) for n in (0, gap)])
        grid = tuple(size // edge for size, edge in zip(x.shape[2:], self.token, strict=True))
        return patchify(x, self.token), grid

    def _encode(self, tokens: Tensor, grid: Shape, visible: Tensor | None) -> list[Tensor]:
        """Return ``(B, n, width)`` after each quarter of the blocks, of the tokens given."""
        raise NotImplementedError
