"""From the visible blocks of an encoder's maps to whole maps that a decoder takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from medssl.encoders.base import Encoder
from medssl.encoders.blockwise import refuse
from medssl.encoders.convolution import CONV, InstanceNorm
from medssl.encoders.sparse import VisibleBlocks, visible_maps
from medssl.errors import ConfigError

__all__ = ["Densify", "sparse_levels"]

TOKEN_SPREAD = 0.02
"""Standard deviation of a new mask token, as in the reference code."""


class Densify(nn.Module):
    """Fill the hidden places of each map with what was learned for that level.

    Args:
        encoder: Whose maps come in.
        sparse: For each map, whether it comes as blocks; see :func:`sparse_levels`.
        full: Whether maps are normalised before and, all but the finest, convolved after they are
            filled (SparK as published); without it they are filled alone, which costs little.
    """

    def __init__(self, encoder: Encoder, sparse: Sequence[bool], *, full: bool = False) -> None:
        super().__init__()
        self.tokens = nn.ParameterDict()
        self.norms = nn.ModuleList()
        self.convolutions = nn.ModuleList()
        for level, (channels, is_sparse) in enumerate(zip(encoder.channels, sparse, strict=True)):
            if is_sparse:
                token = torch.empty(channels)
                nn.init.trunc_normal_(token, std=TOKEN_SPREAD, a=-TOKEN_SPREAD, b=TOKEN_SPREAD)
                self.tokens[str(level)] = nn.Parameter(token)
            if full:
                self.norms.append(InstanceNorm(channels))
                convolve: nn.Module = nn.Identity()
                if level > 0:
                    convolve = CONV[encoder.spatial_dims](channels, channels, 3, padding=1)
                self.convolutions.append(convolve)

    def forward(self, maps: Sequence[VisibleBlocks | Tensor]) -> list[Tensor]:
        """Return whole maps ``(B, C, X, Y, Z)``, finest first."""
        found = []
        for level, features in enumerate(maps):
            if len(self.norms):
                features = cast("VisibleBlocks | Tensor", self.norms[level](features))
            if isinstance(features, VisibleBlocks):
                features = features.dense(self.tokens[str(level)])
            found.append(self.convolutions[level](features) if len(self.norms) else features)
        return found


@torch.no_grad()
def sparse_levels(encoder: Encoder, grid: Sequence[int], patch: Sequence[int]) -> list[bool]:
    """Try an encoder on one visible cell, and say which of its maps come as blocks.

    Args:
        encoder: The encoder; it is not changed.
        grid: Cells of a patch along each axis.
        patch: Voxels along each axis.

    Raises:
        ConfigError: If the encoder does what masked convolution does not know, or the finest map is
            coarser than the cells.
    """
    device = next(encoder.parameters()).device
    hidden = torch.ones(1, *grid, dtype=torch.bool, device=device)
    hidden.view(-1)[0] = False
    was_training = encoder.training
    encoder.eval()
    nothing = torch.zeros(1, encoder.in_channels, *patch, device=device)
    try:
        maps = visible_maps(encoder, nothing, hidden)
    except (RuntimeError, TypeError) as error:  # of libraries that ask what kind of tensor it is
        refuse(f"{type(error).__name__}: {error}", error)
    finally:
        encoder.train(was_training)
    found = [isinstance(features, VisibleBlocks) for features in maps]
    if not found[0]:
        raise ConfigError(
            f"the finest map of the encoder has a stride of {encoder.strides[0]}, which is coarser "
            f"than {tuple(grid)} cells in {tuple(patch)} voxels; use larger cells "
            "(method.mask_size)"
        )
    return found
