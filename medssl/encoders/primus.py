"""Primus, the transformers of nnssl and of the OpenMind checkpoints, under their own names.

Wald et al. 2025, "Primus", arXiv:2503.01835; weights: "An OpenMind for 3D medical vision
self-supervised learning", arXiv:2412.17041.

Published keys become ours by prefix alone: ``eva.`` falls away (``eva.blocks.0.attn.q_proj.weight``
is ``blocks.0.attn.q_proj.weight``; ``eva.pos_embed``, ``eva.norm.*`` likewise), and
``down_projection.proj.*`` stays; files of VoCo carry ``encoder.`` before both, which falls away
first.
Tokens were pretrained in the order (second axis, first axis, third axis). ``pos_embed`` is stored
in that order and the first pairs of a head turn with the second axis; features come out on the
axes of the input all the same. nnU-Net's networks since June 2025 take the first axis first
(``second_axis_first=False``).
Ours differs: the reference fixes the size of its input, and its rotary positions fit its tokens on
cubes alone; here another grid gets learned positions interpolated and rotary positions computed.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.encoders.base import register_variants
from medssl.encoders.convolution import CONV, SLOPE
from medssl.encoders.eva import EvaBlock, check_pairs, initialise_blocks, rotary_angles
from medssl.encoders.token_encoder import TokenEncoder
from medssl.encoders.tokens import gather_tokens, map_to_tokens, tokens_to_map
from medssl.types import Shape

__all__ = ["Primus"]


class TokenProjection(nn.Module):
    """The convolution that makes tokens, as the reference nests it (``down_projection.proj``)."""

    def __init__(self, dims: int, in_channels: int, width: int, token: Shape) -> None:
        super().__init__()
        self.proj = CONV[dims](in_channels, width, token, stride=token)  # type: ignore[arg-type]
        nn.init.kaiming_normal_(self.proj.weight, SLOPE)
        if self.proj.bias is not None:
            nn.init.zeros_(self.proj.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return ``(B, n, width)`` of tokens of voxels: as kernel equals stride, a product."""
        return F.linear(tokens, self.proj.weight.flatten(1), self.proj.bias)


@register_variants(
    primus_s={"width": 396, "depth": 12, "heads": 6},
    primus_b={"width": 792, "depth": 12, "heads": 12},
    primus_m={"width": 864, "depth": 16, "heads": 12},
    primus_l={"width": 1056, "depth": 24, "heads": 16},
)
class Primus(TokenEncoder):
    """A transformer over small tokens, with learned and with rotary positions.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the input.
        patch: Edges of the usual crop in voxels, whose positions are learned; crops of any other
            size get them interpolated.
        token: Edge of a token in voxels, one number or one an axis.
        width: Features of a token, an even number for each head.
        depth: Transformer blocks, at least four.
        heads: Attention heads.
        mlp_ratio: Hidden features of a block's perceptron as a multiple of ``width``.
        layer_scale: What the learned scales of the branches start at.
        second_axis_first: Whether the learned positions, and the pairs of a head that are turned,
            begin with the second axis, as in pretraining with nnssl.

    Raises:
        ConfigError: If the heads do not divide the width evenly, the patch is smaller than a
            token, or there are fewer than four blocks.
    """

    def __init__(
        self,
        *,
        spatial_dims: int = 3,
        in_channels: int = 1,
        patch: tuple[int, ...] = (96, 96, 96),
        token: int | tuple[int, ...] = 8,
        width: int = 864,
        depth: int = 16,
        heads: int = 12,
        mlp_ratio: float = 8 / 3,
        layer_scale: float = 0.1,
        second_axis_first: bool = True,
    ) -> None:
        super().__init__()
        self._plan(patch, token, spatial_dims, (width, depth, heads))
        check_pairs(width, heads)
        self.in_channels = in_channels
        self.head = width // heads
        self.order = ((1, 0, 2) if second_axis_first else (0, 1, 2))[:spatial_dims]
        self.down_projection = TokenProjection(spatial_dims, in_channels, width, self.token)
        self.pos_embed = nn.Parameter(torch.zeros(1, math.prod(self.grid), width))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        hidden = int(width * mlp_ratio)
        self.blocks = nn.ModuleList(
            EvaBlock(width, heads, hidden, layer_scale) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        initialise_blocks(self.blocks)

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return five narrow blocks on small tokens."""
        return {"token": 4, "width": 24, "depth": 5, "heads": 2, "mlp_ratio": 2.0}

    def _encode(self, tokens: Tensor, grid: Shape, visible: Tensor | None) -> list[Tensor]:
        """Return ``(B, n, width)`` after each quarter of the blocks, of the tokens given."""
        positions = self._positions(grid)
        angles = rotary_angles(grid, self.head, order=self.order, device=tokens.device)[None]
        if visible is not None:
            every = (len(tokens), -1, -1)
            positions = gather_tokens(positions.expand(every), visible)
            angles = gather_tokens(angles.expand(every), visible)
        x = self.down_projection(tokens) + positions
        taken = []
        for index, block in enumerate(self.blocks):
            x = block(x, angles.unsqueeze(1))
            if index in self.taken:
                taken.append(x)
        taken[-1] = self.norm(x)
        return taken

    def _positions(self, grid: Shape) -> Tensor:
        """Return the learned positions in the order of our tokens, ``(1, tokens, width)``."""
        stored = tuple(self.grid[axis] for axis in self.order)
        # the order is its own inverse: it swaps two axes or none
        here = tokens_to_map(self.pos_embed, stored)
        here = here.permute(0, 1, *(2 + axis for axis in self.order))
        if grid != self.grid:
            mode = "trilinear" if self.spatial_dims == 3 else "bilinear"
            here = F.interpolate(here, size=grid, mode=mode)
        return map_to_tokens(here)
