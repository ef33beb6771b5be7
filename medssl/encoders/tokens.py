"""The one order of tokens, and what follows from it: positions, masks, gathering and scattering.

Tokens are the cells of a grid in the order of memory, the first axis slowest, and the voxels of a
token are ordered (channel, X, Y, Z) in the same way. Encoders, decoders and losses all pass through
here, so that none of them can hold another order (nnssl's masked loss does, and is wrong on a grid
that is not a cube).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.errors import ConfigError
from medssl.types import Shape

__all__ = [
    "gather_tokens",
    "map_to_tokens",
    "patchify",
    "resize_positions",
    "sincos_positions",
    "split_tokens",
    "token_edges",
    "token_mask",
    "tokens_to_map",
    "unpatchify",
]


def patchify(x: Tensor, token: Sequence[int]) -> Tensor:
    """Cut an image into tokens of voxels.

    Args:
        x: ``(B, C, X, Y, Z)`` or ``(B, C, X, Y)``, a whole number of tokens along each axis.
        token: Edges of a token in voxels.

    Returns:
        ``(B, tokens, C * voxels)``.

    Example:
        >>> patchify(torch.zeros(2, 1, 16, 8, 24), (8, 8, 8)).shape
        torch.Size([2, 6, 512])
    """
    split: list[int] = []
    for size, edge in zip(x.shape[2:], token, strict=True):
        split += [size // edge, edge]
    axes = range(len(token))
    order = (0, *(2 + 2 * a for a in axes), 1, *(3 + 2 * a for a in axes))
    cut = x.reshape(*x.shape[:2], *split).permute(order)
    return cut.flatten(1 + len(token)).flatten(1, -2)


def unpatchify(tokens: Tensor, grid: Sequence[int], token: Sequence[int]) -> Tensor:
    """Put tokens of voxels together again; the inverse of :func:`patchify`.

    Args:
        tokens: ``(B, tokens, C * voxels)``.
        grid: Number of tokens along each axis.
        token: Edges of a token in voxels.

    Returns:
        ``(B, C, X, Y, Z)`` or ``(B, C, X, Y)``.
    """
    dims = len(grid)
    cut = tokens.reshape(len(tokens), *grid, -1, *token)
    order = [0, 1 + dims]
    for axis in range(dims):
        order += [1 + axis, 2 + dims + axis]
    shape = [cells * edge for cells, edge in zip(grid, token, strict=True)]
    return cut.permute(order).reshape(len(tokens), -1, *shape)


def tokens_to_map(tokens: Tensor, grid: Sequence[int]) -> Tensor:
    """View ``(B, tokens, W)`` as a map ``(B, W, *grid)``, without a copy."""
    return tokens.transpose(1, 2).view(tokens.shape[0], -1, *grid)


def map_to_tokens(features: Tensor) -> Tensor:
    """View a map ``(B, W, *grid)`` as ``(B, tokens, W)``; the inverse of :func:`tokens_to_map`."""
    return features.flatten(2).transpose(1, 2)


def gather_tokens(tokens: Tensor, index: Tensor) -> Tensor:
    """Return the tokens at ``index``, ``(B, n)``, of each sample: ``(B, n, W)``."""
    return tokens.gather(1, index.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def token_mask(hidden: Tensor, grid: Sequence[int]) -> Tensor:
    """Bring a mask on a grid of cells to tokens.

    Args:
        hidden: ``(B, gx, gy, gz)``, True where hidden.
        grid: Number of tokens along each axis, a multiple of the number of cells.

    Returns:
        ``(B, tokens)``.

    Raises:
        ConfigError: If a cell is not a whole number of tokens.
    """
    cells = tuple(hidden.shape[1:])
    if len(cells) != len(grid) or any(n % g for n, g in zip(grid, cells, strict=True)):
        raise ConfigError(
            f"a mask of {cells} cells does not fit {tuple(grid)} tokens; the edge of a cell "
            "(method.mask_size) must be a multiple of the edge of a token (encoder.token)"
        )
    for axis, (tokens, count) in enumerate(zip(grid, cells, strict=True), start=1):
        if tokens != count:
            hidden = hidden.repeat_interleave(tokens // count, dim=axis)
    return hidden.flatten(1)


def split_tokens(hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Return the places of visible and of hidden tokens, each in the order of tokens.

    Args:
        hidden: ``(B, tokens)``, equally many True in each sample.

    Returns:
        Index tensors ``(B, visible)`` and ``(B, hidden)``.

    Raises:
        ConfigError: If the samples hide different numbers of tokens, or hide all.
    """
    # the one place where a step waits for the device: shapes depend on how many are hidden
    counts = hidden.sum(dim=1).tolist()
    if len(set(counts)) > 1:
        raise ConfigError(
            f"the samples of a batch hide {sorted(set(counts))} tokens; a mask must hide equally "
            "many in each, or the visible ones do not stack"
        )
    if counts[0] == hidden.shape[1]:
        raise ConfigError("the mask hides every token; leave some visible")
    order = hidden.to(torch.uint8).argsort(dim=1, stable=True)
    visible = hidden.shape[1] - counts[0]
    return order[:, :visible], order[:, visible:]


def sincos_positions(
    grid: Sequence[int], width: int, *, device: torch.device | None = None
) -> Tensor:
    """Return sine and cosine of the position of each token along each axis.

    The numbers of MONAI's ``build_sincos_position_embedding`` (second axis first), for any width:
    what does not divide among the axes stays zero (ViT-L's 1024 features in 3D).

    Args:
        grid: Number of tokens along each axis.
        width: Number of features.
        device: Where they are wanted.

    Returns:
        ``(1, tokens, width)`` float32.

    Example:
        >>> sincos_positions((2, 3, 4), 24).shape
        torch.Size([1, 24, 24])
    """
    count = width // (2 * len(grid))
    omega = 10000.0 ** -(torch.arange(count, dtype=torch.float32, device=device) / max(1, count))
    axes = [torch.arange(cells, dtype=torch.float32, device=device) for cells in grid]
    waves = []
    places = torch.meshgrid(*axes, indexing="ij")
    for axis in (1, 0, 2)[: len(grid)]:
        angle = places[axis].flatten().unsqueeze(1) * omega
        waves += [angle.sin(), angle.cos()]
    rest = width - 2 * len(grid) * count
    waves.append(torch.zeros(math.prod(grid), rest, device=device))
    return torch.cat(waves, dim=1).unsqueeze(0)


def resize_positions(positions: Tensor, grid: Sequence[int], wanted: Sequence[int]) -> Tensor:
    """Return learned positions on another grid, interpolated linearly along each axis.

    Args:
        positions: ``(1, tokens, width)``.
        grid: The grid that they were learned on.
        wanted: The grid asked for.

    Returns:
        ``(1, tokens, width)`` in the dtype of ``positions``.
    """
    mode = "trilinear" if len(grid) == 3 else "bilinear"
    # corners apart, so that a token keeps its place in the image as a share of the image
    resized = F.interpolate(
        tokens_to_map(positions, grid).float(), size=tuple(wanted), mode=mode, align_corners=False
    )
    return map_to_tokens(resized).to(positions.dtype)


def token_edges(token: int | Sequence[int], spatial_dims: int) -> Shape:
    """Return the edges of a token, one an axis.

    Raises:
        ConfigError: If there are more or fewer numbers than axes, or one below 1.
    """
    edges = (token,) * spatial_dims if isinstance(token, int) else tuple(token)
    if len(edges) != spatial_dims or min(edges) < 1:
        raise ConfigError(
            f"encoder.token is {token}; give one number, or {spatial_dims}, each at least 1"
        )
    return edges
