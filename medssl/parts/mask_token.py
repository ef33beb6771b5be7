"""What an encoder is shown where something is hidden and the place itself must be answered for.

Encoders that drop tokens have no answer at hidden places; iBOT, SimMIM and their kin need one. A
learned pattern of voxels is written there instead. A linear embedding of tokens turns it into one
learned vector, so for a transformer this is its mask token and no more; a convolutional encoder
takes it as it takes any image.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from medssl.errors import ConfigError

__all__ = ["MaskToken"]


class WithStrides(Protocol):
    """What is asked of an encoder here."""

    @property
    def in_channels(self) -> int:
        """Channels of the input."""

    @property
    def strides(self) -> tuple[tuple[int, ...], ...]:
        """Stride of each map along each axis."""


class MaskToken(nn.Module):
    """Fills hidden voxels with a learned pattern, which repeats from token to token.

    Args:
        encoder: Whose finest stride is the edge of the pattern: the token of a transformer.

    Attributes:
        token: The pattern, ``(C, *edges)``; the optimiser does not decay it.

    Example:
        >>> from medssl.encoders import build_encoder
        >>> encoder = build_encoder("vit_tiny", spatial_dims=2, patch=(16, 16), token=8)
        >>> hidden = torch.tensor([[[True, False], [False, False]]])
        >>> filled = MaskToken(encoder)(torch.ones(1, 1, 16, 16), hidden)
        >>> bool((filled[..., 8:, :] == 1).all()), bool((filled[..., :8, :8] == 1).any())
        (True, False)
    """

    def __init__(self, encoder: WithStrides) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(encoder.in_channels, *encoder.strides[0]))
        nn.init.trunc_normal_(self.token, std=0.02)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Return the images with hidden voxels replaced; visible ones stay as they are.

        Args:
            x: ``(B, C, X, Y, Z)`` or ``(B, C, X, Y)``.
            hidden: ``(B, gx, gy, gz)``, True where hidden, on a grid of cells that tile ``x``.

        Raises:
            ConfigError: If the cells do not tile the images.
        """
        sizes, cells = tuple(x.shape[2:]), tuple(hidden.shape[1:])
        if len(cells) != len(sizes) or any(n % g for n, g in zip(sizes, cells, strict=True)):
            raise ConfigError(
                f"a mask of {cells} cells does not tile images of {sizes} voxels; choose a patch "
                "whose every edge is a multiple of the cell's (method.mask_size)"
            )
        voxels = hidden
        for axis, (size, count) in enumerate(zip(sizes, cells, strict=True), start=1):
            voxels = voxels.repeat_interleave(size // count, dim=axis)
        repeats = [-(-size // edge) for size, edge in zip(sizes, self.token.shape[1:], strict=True)]
        pattern = self.token.to(x.dtype).repeat(1, *repeats)
        pattern = pattern[(slice(None), *(slice(size) for size in sizes))]
        return torch.where(voxels.unsqueeze(1), pattern, x)
