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
from monai.networks.blocks.patchembedding import PatchEmbeddingBlock
from torch import Tensor, nn

from medssl.encoders.base import register_variants
from medssl.encoders.eva import check_pairs, rotary_angles
from medssl.encoders.token_encoder import TokenEncoder
from medssl.encoders.tokens import gather_tokens, resize_positions, sincos_positions
from medssl.encoders.vit_blocks import initialise, make_block
from medssl.errors import ConfigError
from medssl.types import Shape

__all__ = ["ViT"]


def _check(positions: str, registers: int, norm_eps: float) -> None:
    if positions not in ("sincos", "learned", "rotary") or registers < 0 or norm_eps <= 0:
        raise ConfigError(
            f'positions "{positions}", {registers} registers and norm_eps {norm_eps} were asked '
            'for; positions are "sincos", "learned" or "rotary", registers at least 0, and '
            "norm_eps above 0"
        )


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
            interpolated linearly to another grid; "rotary" turn queries and keys by where they
            are, an equal part of each head for each axis (arXiv:2104.09864).
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
        positions: Literal["sincos", "learned", "rotary"] = "sincos",
        class_token: bool = False,
        registers: int = 0,
        norm_eps: float = 1e-5,
        layer_scale: float | None = None,
    ) -> None:
        super().__init__()
        _check(positions, registers, norm_eps)
        self._plan(patch, token, spatial_dims, (width, depth, heads))
        self.head = width // heads
        self.is_rotary = positions == "rotary"
        if self.is_rotary:
            check_pairs(width, heads)
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
        if positions != "learned":
            del self.patch_embedding.position_embeddings
        if positions == "sincos":
            # a buffer, because it is not learned, under the name of MONAI's parameter
            self.patch_embedding.register_buffer(
                "position_embeddings", sincos_positions(self.grid, width)
            )
        self.blocks = nn.ModuleList(
            make_block(
                width,
                heads,
                int(width * mlp_ratio),
                qkv_bias=qkv_bias,
                layer_scale=layer_scale,
                is_rotary=self.is_rotary,
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
        x = F.linear(tokens, embedding.weight.flatten(1), embedding.bias)
        if not self.is_rotary:
            x = x + _of_visible(self._positions(grid), visible)
        if placeless := self._placeless():
            x = torch.cat([*(part.expand(len(x), -1, -1) for part in placeless), x], dim=1)
        angles = [self._angles(grid, x, visible)] if self.is_rotary else []
        taken = []
        for index, block in enumerate(self.blocks):
            x = block(x, *angles)
            if index in self.taken:
                taken.append(x)
        taken[-1] = self.norm(x)
        return taken

    def _angles(self, grid: Shape, x: Tensor, visible: Tensor | None) -> Tensor:
        """Return by how much each token is turned; not at all if it stands for no place."""
        angles = rotary_angles(grid, self.head, device=x.device)[None]
        angles = _of_visible(angles, visible)
        return F.pad(angles, (0, 0, x.shape[1] - angles.shape[1], 0)).unsqueeze(1)

    def _positions(self, grid: Shape) -> Tensor:
        """Return the stored positions if the grid is the usual one, and fitting ones otherwise."""
        stored = cast(Tensor, self.patch_embedding.position_embeddings)
        if grid == self.grid:
            return stored
        if isinstance(stored, nn.Parameter):
            return resize_positions(stored, self.grid, grid)
        return sincos_positions(grid, self.channels[0], device=stored.device).to(stored.dtype)


def _of_visible(tokens: Tensor, visible: Tensor | None) -> Tensor:
    """Return what belongs to the tokens that are seen, of ``(1, tokens, …)`` for all images."""
    if visible is None:
        return tokens
    return gather_tokens(tokens.expand(len(visible), -1, -1), visible)
