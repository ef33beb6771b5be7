"""The lightest way back to voxels: one linear map from the coarsest features.

SimMIM (Xie et al. 2022, arXiv:2111.09886) found that nothing larger is needed where the encoder
itself answers at hidden places.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from medssl.encoders.base import Encoder
from medssl.encoders.tokens import map_to_tokens, unpatchify
from medssl.types import Shape

__all__ = ["LinearDecoder"]


class LinearDecoder(nn.Module):
    """Says each voxel from the one feature vector of the coarsest map that lies over it.

    Args:
        encoder: Whose maps come in; the last is used.
        out_channels: Channels of the answer.

    Example:
        >>> import torch
        >>> from medssl.encoders import build_encoder
        >>> encoder = build_encoder("resenc_s", features=(4, 8), blocks=(1, 1))
        >>> x = torch.zeros(1, 1, 16, 16, 11)
        >>> LinearDecoder(encoder, 1)(encoder(x), (16, 16, 11)).shape
        torch.Size([1, 1, 16, 16, 11])
    """

    def __init__(self, encoder: Encoder, out_channels: int) -> None:
        super().__init__()
        self.stride = encoder.strides[-1]
        self.head = nn.Linear(encoder.channels[-1], out_channels * math.prod(self.stride))

    def forward(self, maps: Sequence[Tensor], shape: Shape) -> Tensor:
        """Return ``(B, out_channels, *shape)``.

        Args:
            maps: What the encoder returned.
            shape: Voxels of the image along each axis.
        """
        coarsest = maps[-1]
        voxels = self.head(map_to_tokens(coarsest))
        image = unpatchify(voxels, tuple(coarsest.shape[2:]), self.stride)
        # a map covers the image and, at its far end, what the encoder padded
        for axis, size in enumerate(shape, start=2):
            image = image.narrow(axis, 0, size)
        return image
