"""Linear operations along one axis at a time, as small matrices.

Blurring, thick slices and smooth random fields all act on each axis by itself. Written as one
matrix an axis they take another width for each image of a batch, need no loop and no special case
at the border, and run at the speed of matrix products.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["along_axes", "coarse_matrix", "gaussian_matrix", "smooth_field", "spline_knots"]


def along_axes(images: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Multiply each spatial axis by a matrix.

    Args:
        images: ``(B, C, X, Y, Z)`` or ``(B, C, X, Y)``.
        matrices: For each spatial axis ``(B, out, in)``.

    Returns:
        ``(B, C, out_x, out_y, out_z)``.

    Example:
        >>> half = torch.full((1, 1, 4), 0.25)
        >>> along_axes(torch.ones(1, 1, 4, 4), [half, half])
        tensor([[[[1.]]]])
    """
    for axis, matrix in enumerate(matrices, start=2):
        before, after = images.shape[:axis], images.shape[axis + 1 :]
        size = images.shape[axis]
        if after:
            stacked = images.reshape(before[0], math.prod(before[1:]), size, math.prod(after))
            product = matrix.unsqueeze(1) @ stacked
        else:
            product = images.reshape(before[0], math.prod(before[1:]), size) @ matrix.mT
        images = product.reshape(*before, matrix.shape[1], *after)
    return images


def gaussian_matrix(sigma: Tensor, size: int) -> Tensor:
    """Return matrices that blur an axis; weights beyond the border are shared among those within.

    Args:
        sigma: ``(B,)`` widths in voxels; 0 is the identity.
        size: Voxels along the axis.

    Returns:
        ``(B, size, size)``.
    """
    place = torch.arange(size, device=sigma.device, dtype=torch.float32)
    distance = (place[:, None] - place[None, :]).square()
    # Below a hundredth of a voxel the neighbours' weights underflow to 0, which is the identity.
    width = sigma.clamp(min=0.01)[:, None, None]
    weights = torch.exp(-distance / (2.0 * width.square()))
    return weights / weights.sum(dim=2, keepdim=True)


def coarse_matrix(factor: Tensor, size: int) -> Tensor:
    """Return matrices that coarsen an axis, as thick slices do, and interpolate it back.

    A coarse voxel is the mean of what it covers; between the centres of coarse voxels values are
    interpolated linearly.

    Args:
        factor: ``(B,)`` how many times coarser, at least 1; 1 is the identity.
        size: Voxels along the axis.

    Returns:
        ``(B, size, size)``.
    """
    place = torch.arange(size, device=factor.device, dtype=torch.float32)
    count = (size / factor).round().clamp(min=1.0, max=size)[:, None, None]
    edge = size / count
    start = place[None, :, None] * edge
    covered = torch.minimum(place + 1.0, start + edge) - torch.maximum(place, start)
    down = covered.clamp(min=0.0) / edge
    centre = ((place[None, :, None] + 0.5) / edge - 0.5).clamp(min=0.0)
    up = (1.0 - (torch.minimum(centre, count - 1.0) - place).abs()).clamp(min=0.0)
    return up @ down


def spline_knots(size: int, spacing: float) -> int:
    """Return how many control points a cubic spline needs on an axis.

    Args:
        size: Voxels along the axis.
        spacing: Wanted distance between control points, in voxels.
    """
    return max(1, round(size / spacing)) + 3


def smooth_field(control: Tensor, shape: Sequence[int]) -> Tensor:
    """Interpolate control points by cubic B-splines; the field never leaves their range.

    Args:
        control: ``(B, C, kx, ky, kz)``, at least four points an axis.
        shape: Voxels along each spatial axis.

    Returns:
        ``(B, C, *shape)``.
    """
    matrices = [
        _spline_matrix(size, knots, control.device).expand(len(control), -1, -1)
        for size, knots in zip(shape, control.shape[2:], strict=True)
    ]
    return along_axes(control, matrices)


def _spline_matrix(size: int, knots: int, device: torch.device) -> Tensor:
    """Return the weights ``(size, knots)`` of the uniform cubic B-spline over an axis."""
    place = (torch.arange(size, device=device) + 0.5) * ((knots - 3) / size)
    distance = (place[:, None] - torch.arange(-1, knots - 1, device=device)).abs()
    near = 2.0 / 3.0 - distance.square() + 0.5 * distance**3
    far = (2.0 - distance).clamp(min=0.0) ** 3 / 6.0
    return torch.where(distance < 1.0, near, far)
