"""From what an encoder makes of the visible part to the hidden voxels, for any encoder."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from medssl.encoders.base import Encoder
from medssl.encoders.decoders import LightDecoder
from medssl.encoders.token_decoder import TokenDecoder
from medssl.types import Shape

__all__ = ["MaskedDecoder"]


class MaskedDecoder(nn.Module):
    """A narrow transformer where the encoder drops tokens, a light U-Net's way up elsewhere.

    Args:
        encoder: Whose maps come in.
        width: Features of a token in the transformer; a way up takes its own.
        depth: Blocks of the transformer.
    """

    def __init__(self, encoder: Encoder, *, width: int = 192, depth: int = 4) -> None:
        super().__init__()
        self.drops_tokens = encoder.drops_tokens
        self.body: TokenDecoder | LightDecoder
        if encoder.drops_tokens:
            self.body = TokenDecoder(encoder, width=width, depth=depth)
        else:
            self.body = LightDecoder(encoder, encoder.in_channels)

    def forward(self, maps: Sequence[Tensor], hidden: Tensor, shape: Shape) -> Tensor:
        """Return ``(B, C, *shape)``; what it says of visible voxels is not meant to be used.

        Args:
            maps: What ``encoder.forward_masked`` returned for ``hidden``.
            hidden: ``(B, gx, gy, gz)``, True where hidden.
            shape: Voxels of the image along each axis.
        """
        rebuilt: Tensor = self.body(list(maps), hidden if self.drops_tokens else shape)
        return rebuilt
