"""Vision transformers on MONAI's blocks, whose names they keep.

Dosovitskiy et al. 2021, arXiv:2010.11929; masked: He et al. 2022, arXiv:2111.06377.
``encoder.state_dict()`` loads into ``monai.networks.nets.ViT`` of the same ``img_size`` (here
``patch``) and ``pos_embed_type="sincos"`` unchanged.
Ours differs: attention is torch's fused kernel; positions are recomputed for whatever grid comes,
cube or not; hidden tokens are dropped before the first layer; four maps at equal depths come out,
as UNETR takes them, the last through the final norm.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from monai.networks.blocks.patchembedding import PatchEmbeddingBlock
from monai.networks.blocks.transformerblock import TransformerBlock
from torch import Tensor, nn

from medssl.encoders.base import register_variants
from medssl.encoders.token_encoder import TokenEncoder
from medssl.encoders.tokens import gather_tokens, sincos_positions
from medssl.types import Shape

__all__ = ["ViT", "initialise", "make_block"]


class UnusedNorm(nn.Module):
    """Keeps the names of a norm that MONAI's block holds and never calls, out of the optimiser."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(width))
        self.register_buffer("bias", torch.zeros(width))


def make_block(width: int, heads: int, mlp_width: int, *, qkv_bias: bool = False) -> nn.Module:
    """Return MONAI's transformer block with fused attention and no weights that get no gradient."""
    block = TransformerBlock(width, mlp_width, heads, qkv_bias=qkv_bias, use_flash_attention=True)
    block.norm_cross_attn = UnusedNorm(width)  # type: ignore[assignment]  # never called
    return block


def initialise(module: nn.Module) -> None:
    """Draw the weights of all linear layers as MAE does: Xavier's uniform, biases zero."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


@register_variants(
    vit_tiny={"width": 192, "depth": 12, "heads": 3},
    vit_small={"width": 384, "depth": 12, "heads": 6},
    vit_base={"width": 768, "depth": 12, "heads": 12},
    vit_large={"width": 1024, "depth": 24, "heads": 16},
)
class ViT(TokenEncoder):
    """A transformer over non-overlapping tokens of voxels.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the input.
        patch: Edges of the usual crop in voxels, whose positions are stored with the weights;
            crops of any other size get theirs computed.
        token: Edge of a token in voxels, one number or one an axis.
        width: Features of a token.
        depth: Transformer blocks, at least four.
        heads: Attention heads.
        mlp_ratio: Hidden features of a block's perceptron as a multiple of ``width``.
        qkv_bias: Whether queries, keys and values have a bias; MONAI's default is none.

    Raises:
        ConfigError: If the heads do not divide the width, the patch is smaller than a token, or
            there are fewer than four blocks.
    """

    def __init__(
        self,
        *,
        spatial_dims: int = 3,
        in_channels: int = 1,
        patch: tuple[int, ...] = (96, 96, 96),
        token: int | tuple[int, ...] = 16,
        width: int = 384,
        depth: int = 12,
        heads: int = 6,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = False,
    ) -> None:
        super().__init__()
        self._plan(patch, token, spatial_dims, (width, depth, heads))
        self.in_channels = in_channels
        # "none": MONAI's own sine and cosine take few widths and warn; ours are the same numbers
        self.patch_embedding = PatchEmbeddingBlock(
            in_channels=in_channels,
            img_size=tuple(g * t for g, t in zip(self.grid, self.token, strict=True)),
            patch_size=self.token,
            hidden_size=width,
            num_heads=heads,
            pos_embed_type="none",
            spatial_dims=spatial_dims,
        )
        # a buffer, because it is not learned, under the name of MONAI's parameter
        del self.patch_embedding.position_embeddings
        self.patch_embedding.register_buffer(
            "position_embeddings", sincos_positions(self.grid, width)
        )
        self.blocks = nn.ModuleList(
            make_block(width, heads, int(width * mlp_ratio), qkv_bias=qkv_bias)
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        initialise(self)
        nn.init.xavier_uniform_(self._embedding.weight.flatten(1))

    @property
    def _embedding(self) -> nn.Conv3d:
        return cast(nn.Conv3d, self.patch_embedding.patch_embeddings)

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return five narrow blocks on small tokens."""
        return {"token": 4, "width": 24, "depth": 5, "heads": 2, "mlp_ratio": 2.0}

    def _encode(self, tokens: Tensor, grid: Shape, visible: Tensor | None) -> list[Tensor]:
        """Return ``(B, n, width)`` after each quarter of the blocks, of the tokens given."""
        # MONAI's convolution, kernel equal to stride, is a product with the voxels of each token
        embedding = self._embedding
        positions = self._positions(grid)
        if visible is not None:
            positions = gather_tokens(positions.expand(len(tokens), -1, -1), visible)
        x = F.linear(tokens, embedding.weight.flatten(1), embedding.bias) + positions
        taken = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.taken:
                taken.append(x)
        taken[-1] = self.norm(x)
        return taken

    def _positions(self, grid: Shape) -> Tensor:
        """Return the stored positions if the grid is the usual one, and new ones otherwise."""
        stored = cast(Tensor, self.patch_embedding.position_embeddings)
        if grid == self.grid:
            return stored
        return sincos_positions(grid, self.channels[0], device=stored.device).to(stored.dtype)
