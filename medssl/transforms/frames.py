"""Where two views of one crop lie relative to each other, and how to compare them place by place.

A frame ``(B, d, d + 1)`` tells from where in the crop each place of a view was read
(:meth:`medssl.transforms.base.Transform.frames`). Places are measured from the middle and run from
-1 to 1 between outer faces, so that a frame holds for images and for feature maps of any stride.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.errors import ConfigError

__all__ = ["Overlap", "align", "compose_frames", "overlap", "relation"]


@dataclass(frozen=True)
class Overlap:
    """What two views share.

    Attributes:
        iou: ``(B,)`` volume (area in 2D) of what is shared over that of both together.
        first: ``(B, d, 2)`` lowest and highest place of it along each axis of the first view.
        second: The same in the second view; where nothing is shared the highest is not above the
            lowest.
    """

    iou: Tensor
    first: Tensor
    second: Tensor


def compose_frames(outer: Tensor, inner: Tensor) -> Tensor:
    """Return the frames of a view of a view.

    Args:
        outer: Frames of the first transform, ``(B, d, d + 1)``.
        inner: Frames of the one that was applied to its result.
    """
    dims = outer.shape[1]
    total = outer[:, :, :dims] @ inner
    return torch.cat([total[:, :, :dims], total[:, :, dims:] + outer[:, :, dims:]], dim=2)


def relation(first: Tensor, second: Tensor) -> Tensor:
    """Return from where in the first view each place of the second is to be read.

    Args:
        first: Frames of the first view, ``(B, d, d + 1)``.
        second: Frames of the second view of the same crops.

    Returns:
        ``(B, d, d + 1)``: a view that lies half a view to the right of the first has 1 as last
        entry of its first row; one that is half as large has 0.5 on its diagonal; one that is
        mirrored has a negative number there.

    Example:
        >>> whole = torch.eye(2, 3).unsqueeze(0)
        >>> corner = torch.tensor([[[0.5, 0.0, 0.5], [0.0, 0.5, 0.5]]])
        >>> relation(corner, whole)[0].tolist()
        [[2.0, 0.0, -1.0], [0.0, 2.0, -1.0]]
    """
    dims = first.shape[1]
    linear = torch.linalg.solve(first[:, :, :dims], second[:, :, :dims])
    moved = torch.linalg.solve(
        first[:, :, :dims], (second[:, :, dims] - first[:, :, dims]).unsqueeze(2)
    )
    return torch.cat([linear, moved], dim=2)


def overlap(first: Tensor, second: Tensor) -> Overlap:
    """Return the box that two views share, as each of them sees it.

    Args:
        first: Frames of the first view, ``(B, d, d + 1)``, on the host.
        second: Frames of the second view of the same crops.

    Raises:
        ConfigError: If a view was turned, so that what is shared is not a box.
    """
    for frames in (first, second):
        linear = frames[:, :, :-1]
        if bool((linear != torch.diag_embed(linear.diagonal(dim1=1, dim2=2))).any()):
            raise ConfigError(
                "the overlap of views that were turned or sheared is not a box; relate them by "
                "`relation` and `align`"
            )
    low_a, high_a = _extent(first)
    low_b, high_b = _extent(second)
    low, high = torch.maximum(low_a, low_b), torch.minimum(high_a, high_b)
    shared = (high - low).clamp(min=0.0).prod(dim=1)
    both = (high_a - low_a).prod(dim=1) + (high_b - low_b).prod(dim=1) - shared
    return Overlap(shared / both, _seen(first, low, high), _seen(second, low, high))


def align(features: Tensor, related: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Read one view's features where another view looks, so that both can be compared.

    Args:
        features: ``(B, C, x, y, z)`` of the first view.
        related: From :func:`relation`, first to second view.
        size: Edges of the second view's feature map.

    Returns:
        ``(B, C, *size)`` linearly interpolated, and ``(B, 1, *size)``: whether the first view saw
        that place at all.
    """
    dims = len(size)
    to_sample = related.to(features.device, features.dtype).flip(1)
    to_sample = torch.cat([to_sample[:, :, :dims].flip(2), to_sample[:, :, dims:]], dim=2)
    places = F.affine_grid(to_sample, [len(features), 1, *size], align_corners=False)
    seen = (places.abs() <= 1.0).all(dim=-1).unsqueeze(1)
    aligned = F.grid_sample(
        features, places, mode="bilinear", padding_mode="border", align_corners=False
    )
    return aligned, seen


def _extent(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Return the lowest and highest place of the crop that views show, ``(B, d)`` each."""
    middle = frames[:, :, -1]
    half = frames[:, :, :-1].diagonal(dim1=1, dim2=2).abs()
    return middle - half, middle + half


def _seen(frames: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return a box of the crop in the places of a view, ``(B, d, 2)``, lowest first."""
    edge = frames[:, :, :-1].diagonal(dim1=1, dim2=2)
    ends = (torch.stack([low, high], dim=2) - frames[:, :, -1:]) / edge.unsqueeze(2)
    # A mirrored axis swaps the ends.
    return torch.where(edge.unsqueeze(2) < 0.0, ends.flip(2), ends)
