"""What networks do to images, done to visible blocks: see :mod:`medssl.encoders.sparse`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.errors import ConfigError
from medssl.types import Shape

if TYPE_CHECKING:
    from medssl.encoders.sparse import VisibleBlocks

__all__ = ["BY_VOXEL", "REACHING", "refuse"]

SMALL = 2
"""Blocks of results up to this edge are one product of matrices: convolutions are slow on them."""


def refuse(name: str, cause: Exception | None = None) -> NoReturn:
    """Say that masked convolution does not know something.

    Args:
        name: What it does not know.
        cause: What was raised where it was met.

    Raises:
        ConfigError: Always.
    """
    raise ConfigError(
        f'masked convolution does not know what the encoder asks of a map ("{name}"); choose a '
        "convolutional one (resenc_*, resnet*), or method mae_cnn for this one"
    ) from cause


def _each_axis(value: int | tuple[int, ...] | list[int], dims: int) -> Shape:
    if isinstance(value, str):
        refuse(f"padding {value}")
    every = (value,) if isinstance(value, int) else tuple(value)
    return every * dims if len(every) == 1 else every


def _convolve(
    x: VisibleBlocks,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> VisibleBlocks | Tensor:
    """Convolve blocks within their margins."""
    dims = x.ndim - 2
    convolve = F.conv3d if dims == 3 else F.conv2d
    steps, margin = _each_axis(stride, dims), _each_axis(padding, dims)
    if not x.holds_whole(steps):
        return convolve(x.dense(), weight, bias, steps, margin, dilation, groups)
    windows = x.windows(margin)
    if _is_small(x.edges, steps) and groups == 1 and max(_each_axis(dilation, dims)) == 1:
        return x.followed_by(_multiply(windows.movedim(1, -1), weight, bias, steps), steps)
    found = convolve(windows, weight, bias, steps, 0, dilation, groups)
    return x.followed_by(found.movedim(1, -1), steps)


def _is_small(edges: Shape, steps: Shape) -> bool:
    return max(edge // step for edge, step in zip(edges, steps, strict=True)) <= SMALL


def _multiply(windows: Tensor, weight: Tensor, bias: Tensor | None, steps: Shape) -> Tensor:
    """Convolve small windows ``(N, x, y, z, C)`` as one product of matrices."""
    sizes = windows.shape[1:-1]
    taps = torch.arange(math.prod(sizes), device=windows.device).view(sizes)
    for axis, (length, step) in enumerate(zip(weight.shape[2:], steps, strict=True)):
        taps = taps.unfold(axis, length, step)
    wanted = taps.shape[: len(sizes)]
    seen = windows.flatten(1, -2).index_select(1, taps.flatten())
    rows = seen.view(len(windows) * math.prod(wanted), -1)
    found = F.linear(rows, weight.movedim(1, -1).flatten(1), bias)
    return found.view(len(windows), *wanted, -1)


def _pool_max(
    x: VisibleBlocks,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,  # noqa: ARG001 torch's signature
) -> VisibleBlocks | Tensor:
    """Pool blocks within their margins; what is hidden is no candidate, as beyond the image."""
    dims = x.ndim - 2
    pool = F.max_pool3d if dims == 3 else F.max_pool2d
    kernel = _each_axis(kernel_size, dims)
    steps, margin = _each_axis(stride or kernel, dims), _each_axis(padding, dims)
    if not x.holds_whole(steps):
        return pool(x.dense(), kernel, steps, margin, dilation, ceil_mode)
    pooled = pool(x.windows(margin, -math.inf), kernel, steps, 0, dilation)
    return x.followed_by(pooled.movedim(1, -1), steps)


def _pool_mean(
    x: VisibleBlocks, kernel_size: Any, stride: Any = None, padding: Any = 0, *options: Any
) -> VisibleBlocks | Tensor:
    """Pool blocks that stay within themselves."""
    dims = x.ndim - 2
    pool = F.avg_pool3d if dims == 3 else F.avg_pool2d
    kernel = _each_axis(kernel_size, dims)
    steps, margin = _each_axis(stride or kernel, dims), _each_axis(padding, dims)
    if not x.holds_whole(steps):
        return pool(x.dense(), kernel, steps, margin, *options)
    return x.followed_by(pool(x.blocks, kernel, steps, margin).movedim(1, -1), steps)


def _pad(x: VisibleBlocks, pad: Any, *options: Any, **named: Any) -> VisibleBlocks:
    """Add channels; voxels have their margins elsewhere."""
    if any(pad[: 2 * (x.ndim - 2)]):
        refuse("pad")
    return x.of_stacked(F.pad(x.stacked, pad, *options, **named))


REACHING: dict[Callable[..., Any], Callable[..., Any]] = {
    F.conv2d: _convolve,
    F.conv3d: _convolve,
    F.max_pool2d: _pool_max,
    F.max_pool3d: _pool_max,
    F.avg_pool2d: _pool_mean,
    F.avg_pool3d: _pool_mean,
    F.pad: _pad,
}
"""Functions that look beyond a voxel."""

BY_VOXEL: frozenset[Callable[..., Any]] = frozenset(
    {
        F.batch_norm,
        F.dropout,
        F.elu,
        F.gelu,
        F.group_norm,
        F.instance_norm,
        F.leaky_relu,
        F.prelu,
        F.relu,
        F.silu,
    }
)
"""Functions that act on voxels alone, and norms over all that there are."""
