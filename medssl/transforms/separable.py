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

__all__ = [
    "along_axes",
    "coarse_matrix",
    "gaussian_matrix",
    "lowpass_matrix",
    "nearest_places",
    "resize_matrix",
    "smooth_field",
    "spline_knots",
]

NARROWEST = 0.02
"""Voxels over which a mean differs from a point by more than float32 loses in telling so."""


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
    # Far weights are too small to be normal numbers, with which a processor multiplies 16 times
    # slower; what is below float32's last digit is none.
    weights = torch.where(weights < torch.finfo(weights.dtype).eps, 0.0, weights)
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


def resize_matrix(start: Tensor, edge: Tensor, size: int, out: int) -> Tensor:
    """Return matrices that resample a part of an axis: linear, and averaging where voxels grow.

    Args:
        start: ``(B,)`` where the part begins, in edges of the image.
        edge: ``(B,)`` how long it is.
        size: Voxels along the axis.
        out: Voxels that the part is to have.

    Returns:
        ``(B, out, size)``; what lies beyond the image is not counted.
    """
    place = torch.arange(size, device=start.device, dtype=torch.float32)
    distance = _centres(start, edge, size, out)[:, :, None] - place
    # A voxel is the mean over its width. To become the mean over r widths an image, whose variance
    # over a voxel is 1/12, has to be averaged once more over the difference of variances.
    wider = (edge * size / out).square()[:, None, None] - 1.0
    width = wider.clamp(min=NARROWEST**2).sqrt()
    mean = (_below_hat(distance + width / 2.0) - _below_hat(distance - width / 2.0)) / width
    point = (1.0 - distance.abs()).clamp(min=0.0)
    weights = torch.where(wider > NARROWEST**2, mean, point)
    return weights / weights.sum(dim=2, keepdim=True)


def _below_hat(place: Tensor) -> Tensor:
    """Return the integral from the left of the hat function of linear interpolation."""
    within = place.clamp(min=-1.0, max=1.0)
    return 0.5 + within - 0.5 * within * within.abs()


def nearest_places(start: Tensor, edge: Tensor, size: int, out: int) -> Tensor:
    """Return the voxels ``(B, out)`` nearest to those of a part of an axis, as in resize_matrix.

    Args:
        start: ``(B,)`` where the part begins, in edges of the image.
        edge: ``(B,)`` how long it is.
        size: Voxels along the axis.
        out: Voxels that the part is to have.
    """
    return _centres(start, edge, size, out).round().long().clamp(min=0, max=size - 1)


def _centres(start: Tensor, edge: Tensor, size: int, out: int) -> Tensor:
    """Return where the new voxels lie along the axis, ``(B, out)``, in old voxels."""
    steps = (torch.arange(out, device=start.device, dtype=torch.float32) + 0.5) / out
    return (start[:, None] + steps * edge[:, None]) * size - 0.5


def lowpass_matrix(cut: Tensor, size: int) -> Tensor:
    """Return matrices that take an axis' highest frequencies away, as a short readout does.

    The axis is continued by its mirror image (a discrete cosine transform), so that its two ends do
    not ring against each other.

    Args:
        cut: ``(B,)`` share of the frequencies that is taken; 0 is the identity. One that is cut in
            part is kept in part.
        size: Voxels along the axis.

    Returns:
        ``(B, size, size)``.
    """
    wave = torch.arange(size, device=cut.device, dtype=torch.float32)
    angles = (wave[None, :] + 0.5) * wave[:, None] * (math.pi / size)
    cosines = angles.cos() * math.sqrt(2.0 / size)
    cosines[0] = math.sqrt(1.0 / size)
    kept = (size * (1.0 - cut[:, None]) - wave).clamp(min=0.0, max=1.0)
    kept[:, 0] = 1.0  # the mean stays
    return cosines.mT @ (kept[:, :, None] * cosines)


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
