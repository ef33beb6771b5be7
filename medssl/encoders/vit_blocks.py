"""Blocks of vision transformers, under the names of MONAI's and, where they scale, of DINOv2's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.networks.blocks.mlp import MLPBlock
from monai.networks.blocks.selfattention import SABlock
from monai.networks.blocks.transformerblock import TransformerBlock
from torch import Tensor, nn

from medssl.encoders.eva import rotate

__all__ = ["initialise", "make_block"]


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


class RotaryAttention(SABlock):
    """MONAI's attention, whose queries and keys are turned by their places."""

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:  # type: ignore[override]  # places in place of a mask
        """Return ``(B, tokens, width)``.

        Args:
            x: ``(B, tokens, width)``.
            angles: ``(1 or B, 1, tokens, width / heads / 2)`` in radians.
        """
        query, key, value = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).unbind(2)
        value = value.transpose(1, 2)
        query, key = (rotate(part.transpose(1, 2), angles).to(value.dtype) for part in (query, key))
        found = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.out_proj(found.transpose(1, 2).flatten(2))
        return out


class Block(nn.Module):
    """MONAI's transformer block with rotary attention, scaled branches, or both."""

    def __init__(
        self,
        width: int,
        mlp_width: int,
        heads: int,
        *,
        qkv_bias: bool,
        layer_scale: float | None,
        is_rotary: bool,
    ) -> None:
        super().__init__()
        attention = RotaryAttention if is_rotary else SABlock
        scales = [LayerScale(width, layer_scale) for _ in range(2) if layer_scale is not None]
        self.norm1 = nn.LayerNorm(width)
        self.attn = attention(width, heads, qkv_bias=qkv_bias, use_flash_attention=True)
        self.ls1 = scales[0] if scales else nn.Identity()
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLPBlock(width, mlp_width)
        self.ls2 = scales[1] if scales else nn.Identity()

    def forward(self, x: Tensor, *angles: Tensor) -> Tensor:
        """Return ``(B, tokens, width)``; rotary attention wants angles, and no other does."""
        x = x + self.ls1(self.attn(self.norm1(x), *angles))
        out: Tensor = x + self.ls2(self.mlp(self.norm2(x)))
        return out


def make_block(
    width: int,
    heads: int,
    mlp_width: int,
    *,
    qkv_bias: bool = False,
    layer_scale: float | None = None,
    is_rotary: bool = False,
) -> nn.Module:
    """Return MONAI's transformer block with fused attention and no weights that get no gradient."""
    if layer_scale is not None or is_rotary:
        return Block(
            width,
            mlp_width,
            heads,
            qkv_bias=qkv_bias,
            layer_scale=layer_scale,
            is_rotary=is_rotary,
        )
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
