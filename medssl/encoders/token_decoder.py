"""The decoder of a masked autoencoder on tokens: narrow, and it answers for hidden tokens alone.

He et al. 2022, arXiv:2111.06377. Ours differs: the last block asks for hidden tokens only, since
visible ones are not in the loss; the answer is an image, zero where the input was visible.
"""

from __future__ import annotations

import math

import torch
from monai.networks.blocks.crossattention import CrossAttentionBlock
from monai.networks.blocks.mlp import MLPBlock
from torch import Tensor, nn

from medssl.encoders.base import Encoder
from medssl.encoders.tokens import (
    gather_tokens,
    map_to_tokens,
    sincos_positions,
    split_tokens,
    token_mask,
    unpatchify,
)
from medssl.encoders.vit_blocks import initialise, make_block
from medssl.errors import ConfigError

__all__ = ["TokenDecoder"]


class LastBlock(nn.Module):
    """A transformer block whose queries are the last ``count`` tokens only."""

    def __init__(self, width: int, heads: int, mlp_width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = CrossAttentionBlock(width, heads, use_flash_attention=True)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLPBlock(width, mlp_width)

    def forward(self, x: Tensor, count: int) -> Tensor:
        """Return ``(B, count, width)`` from ``(B, tokens, width)``."""
        context = self.norm1(x)
        asked = x[:, -count:] + self.attn(context[:, -count:], context=context)
        answer: Tensor = asked + self.mlp(self.norm2(asked))
        return answer


class TokenDecoder(nn.Module):
    """A narrow transformer from visible tokens to the voxels of hidden ones.

    Args:
        encoder: One that drops tokens; its last map comes in.
        out_channels: Channels of the answer; by default those of the encoder's input.
        width: Features of a token in the decoder.
        depth: Transformer blocks.
        heads: Attention heads; by default one for 32 features.
        mlp_ratio: Hidden features of a block's perceptron as a multiple of ``width``.

    Raises:
        ConfigError: If the encoder drops no tokens, or heads do not divide the width.
    """

    def __init__(
        self,
        encoder: Encoder,
        out_channels: int | None = None,
        *,
        width: int = 192,
        depth: int = 4,
        heads: int | None = None,
        mlp_ratio: float = 4.0,
    ) -> None:
        super().__init__()
        heads = max(1, width // 32) if heads is None else heads
        if not encoder.drops_tokens or width % heads or depth < 1:
            raise ConfigError(
                f"a token decoder of {width} features, {depth} blocks and {heads} heads on an "
                f"encoder with drops_tokens={encoder.drops_tokens} was asked for; it needs a "
                "vit_* encoder, at least one block, and heads that divide the features"
            )
        out_channels = encoder.in_channels if out_channels is None else out_channels
        self.token = encoder.strides[-1]
        self.width = width
        self.embed = nn.Linear(encoder.channels[-1], width)
        self.mask_token = nn.Parameter(torch.zeros(width))
        mlp_width = int(width * mlp_ratio)
        self.blocks = nn.ModuleList(make_block(width, heads, mlp_width) for _ in range(depth - 1))
        self.last = LastBlock(width, heads, mlp_width)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, out_channels * math.prod(self.token))
        initialise(self)
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(self, maps: list[Tensor], hidden: Tensor) -> Tensor:
        """Return the image with hidden voxels rebuilt and zeros at visible ones.

        Args:
            maps: What ``encoder.forward_masked`` returned for ``hidden``.
            hidden: ``(B, gx, gy, gz)``, True where hidden.

        Returns:
            ``(B, out_channels, X, Y, Z)``, or ``(B, out_channels, X, Y)``.
        """
        grid = tuple(maps[-1].shape[2:])
        visible, gone = split_tokens(token_mask(hidden, grid))
        batch, count = gone.shape
        if count == 0:
            raise ConfigError("nothing is hidden, so there is nothing to rebuild; hide some cells")
        # attention does not mind the order, and hidden tokens at the end need no gathering later
        seen = self.embed(gather_tokens(map_to_tokens(maps[-1]), visible))
        asked = self.mask_token.to(seen.dtype).expand(batch, count, -1)
        # in the precision of the weights, so that under autocast sums stay in float32
        positions = sincos_positions(grid, self.width, device=seen.device).to(self.mask_token.dtype)
        order = torch.cat([visible, gone], dim=1)
        x = torch.cat([seen, asked], dim=1) + positions[0][order]
        for block in self.blocks:
            x = block(x)
        answer = self.head(self.norm(self.last(x, count)))
        voxels = answer.new_zeros(batch, math.prod(grid), answer.shape[-1])
        place = gone.unsqueeze(-1).expand(-1, -1, answer.shape[-1])
        return unpatchify(voxels.scatter(1, place, answer), grid, self.token)
