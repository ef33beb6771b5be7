"""Vision transformers on MONAI's blocks, whose names they keep.

Dosovitskiy et al. 2021, arXiv:2010.11929; masked: He et al. 2022, arXiv:2111.06377.
``encoder.state_dict()`` loads into ``monai.networks.nets.ViT`` of the same ``img_size`` (here
``patch``) and ``pos_embed_type="sincos"`` unchanged.
Ours differs: attention is torch's fused kernel; positions are recomputed for whatever grid comes,
cube or not; hidden tokens are dropped before the first layer; four maps at equal depths come out,
as UNETR takes them, the last through the final norm.

What published weights need besides is an option: a class token, registers (Darcet et al. 2024,
arXiv:2309.16588), learned positions, the epsilon of the norms, learned scales of the branches
(Touvron et al. 2021, arXiv:2103.17239). The class token has no position of its own: published ones
are added to it.
"""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from monai.networks.blocks.mlp import MLPBlock
from monai.networks.blocks.patchembedding import PatchEmbeddingBlock
from monai.networks.blocks.selfattention import SABlock
from monai.networks.blocks.transformerblock import TransformerBlock
from torch import Tensor, nn

from medssl.encoders.base import register_variants
from medssl.encoders.token_encoder import TokenEncoder
from medssl.encoders.tokens import gather_tokens, resize_positions, sincos_positions
from medssl.errors import ConfigError
from medssl.types import Shape

__all__ = ["ViT", "initialise", "make_block"]


class UnusedNorm(nn.Module):
    """Keeps the names of a norm that MONAI's block holds and never calls, out of the optimiser."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(width))
        self.register_buffer("bias", torch.zeros(width))


class LayerScale(nn.Module):
    """Multiplies each feature of a branch by a learned number."""

    def __init__(self, width: int, start: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), start))

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the shape of ``x``."""
        return x * self.gamma


class ScaledBlock(nn.Module):
    """MONAI's transformer block with each branch scaled before it is added, as DINOv2 names it."""

    def __init__(
        self, width: int, mlp_width: int, heads: int, *, qkv_bias: bool, start: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = SABlock(width, heads, qkv_bias=qkv_bias, use_flash_attention=True)
        self.ls1 = LayerScale(width, start)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLPBlock(width, mlp_width)
        self.ls2 = LayerScale(width, start)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(B, tokens, width)``."""
        x = x + self.ls1(self.attn(self.norm1(x)))
        out: Tensor = x + self.ls2(self.mlp(self.norm2(x)))
        return out


def make_block(
    width: int,
    heads: int,
    mlp_width: int,
    *,
    qkv_bias: bool = False,
    layer_scale: float | None = None,
) -> nn.Module:
    """Return MONAI's transformer block with fused attention and no weights that get no gradient."""
    if layer_scale is not None:
        return ScaledBlock(width, mlp_width, heads, qkv_bias=qkv_bias, start=layer_scale)
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
        positions: "sincos" are computed for whatever grid comes; "learned" are those of ``patch``,
            interpolated linearly to another grid.
        class_token: Whether a token that stands for the whole image goes first; then it is what
            ``embed`` returns, after the last norm, in place of the mean of all tokens.
        registers: Further tokens without a place, whose answer nobody asks for.
        norm_eps: Epsilon of the norms: 1e-5 in MONAI, 1e-6 in most published weights.
        layer_scale: What learned scales of the branches start at; none without them.

    Raises:
        ConfigError: If the heads do not divide the width, the patch is smaller than a token, there
            are fewer than four blocks, or an option has a value that it does not take.
    """

    def __init__(  # noqa: PLR0913 - an argument for each way in which published weights differ
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
        positions: Literal["sincos", "learned"] = "sincos",
        class_token: bool = False,
        registers: int = 0,
        norm_eps: float = 1e-5,
        layer_scale: float | None = None,
    ) -> None:
        super().__init__()
        if positions not in ("sincos", "learned") or registers < 0 or norm_eps <= 0:
            raise ConfigError(
                f'positions "{positions}", {registers} registers and norm_eps {norm_eps} were '
                'asked for; positions are "sincos" or "learned", registers at least 0, and '
                "norm_eps above 0"
            )
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
        if positions == "sincos":
            # a buffer, because it is not learned, under the name of MONAI's parameter
            del self.patch_embedding.position_embeddings
            self.patch_embedding.register_buffer(
                "position_embeddings", sincos_positions(self.grid, width)
            )
        self.blocks = nn.ModuleList(
            make_block(
                width, heads, int(width * mlp_ratio), qkv_bias=qkv_bias, layer_scale=layer_scale
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width)) if class_token else None
        self.register_tokens = nn.Parameter(torch.zeros(1, registers, width)) if registers else None
        self._initialise(norm_eps)

    def _initialise(self, norm_eps: float) -> None:
        initialise(self)
        nn.init.xavier_uniform_(self._embedding.weight.flatten(1))
        for name, parameter in self.named_parameters():
            if name.endswith(("position_embeddings", "cls_token", "register_tokens")):
                nn.init.trunc_normal_(parameter, std=0.02)
        for part in self.modules():
            if isinstance(part, nn.LayerNorm):
                part.eps = norm_eps

    @property
    def _embedding(self) -> nn.Conv3d:
        return cast(nn.Conv3d, self.patch_embedding.patch_embeddings)

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return five narrow blocks on small tokens."""
        return {"token": 4, "width": 24, "depth": 5, "heads": 2, "mlp_ratio": 2.0}

    def embed(self, x: Tensor) -> Tensor:
        """Return one vector an image: its class token, or without one the mean of its tokens."""
        if self.cls_token is None:
            return super().embed(x)
        tokens, grid = self._cut(x)
        return self._transform(tokens, grid, None)[-1][:, 0]

    def _encode(self, tokens: Tensor, grid: Shape, visible: Tensor | None) -> list[Tensor]:
        """Return ``(B, n, width)`` after each quarter of the blocks, of the tokens given."""
        first = sum(part.shape[1] for part in self._placeless())
        return [taken[:, first:] for taken in self._transform(tokens, grid, visible)]

    def _placeless(self) -> list[Tensor]:
        """Return the tokens that stand for no place, in the order in which they go first."""
        return [part for part in (self.cls_token, self.register_tokens) if part is not None]

    def _transform(self, tokens: Tensor, grid: Shape, visible: Tensor | None) -> list[Tensor]:
        """Return what ``_encode`` does, with the tokens that stand for no place before the rest."""
        # MONAI's convolution, kernel equal to stride, is a product with the voxels of each token
        embedding = self._embedding
        positions = self._positions(grid)
        if visible is not None:
            positions = gather_tokens(positions.expand(len(tokens), -1, -1), visible)
        x = F.linear(tokens, embedding.weight.flatten(1), embedding.bias) + positions
        if placeless := self._placeless():
            x = torch.cat([*(part.expand(len(x), -1, -1) for part in placeless), x], dim=1)
        taken = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.taken:
                taken.append(x)
        taken[-1] = self.norm(x)
        return taken

    def _positions(self, grid: Shape) -> Tensor:
        """Return the stored positions if the grid is the usual one, and fitting ones otherwise."""
        stored = cast(Tensor, self.patch_embedding.position_embeddings)
        if grid == self.grid:
            return stored
        if isinstance(stored, nn.Parameter):
            return resize_positions(stored, self.grid, grid)
        return sincos_positions(grid, self.channels[0], device=stored.device).to(stored.dtype)
