"""How well one image lies over another, and how rough the shifts are that brought it there.

Local normalised cross-correlation with windows of 9 voxels as in VoxelMorph (Balakrishnan et al.
2019, arXiv:1809.05231) and GVSL (He et al., CVPR 2023). Ours differs: at the border of the image
windows hold what there is; the reference code takes zeros for voxels there.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.errors import ConfigError

__all__ = ["correlation_loss", "roughness"]

EPSILON = 1e-5
"""Added to the product of both variances, as in the reference code: two flat windows do not agree.
"""


def correlation_loss(first: Tensor, second: Tensor, *, window: int = 9) -> Tensor:
    """Return one less the mean squared correlation of small windows.

    It does not ask for equal grey values: a window may be brighter, steeper or a negative.

    Args:
        first: ``(B, C, X, Y, Z)`` or ``(B, C, X, Y)``.
        second: Of the same shape.
        window: Edge of a window in voxels, odd.

    Returns:
        A scalar in [0, 1], computed in float32.

    Raises:
        ConfigError: If the window has no middle.
        ValueError: If the shapes differ.
    """
    if window < 1 or window % 2 == 0:
        raise ConfigError(f"a window of {window} voxels has no middle; give an odd number")
    if first.shape != second.shape:
        raise ValueError(
            f"images {tuple(first.shape)} and {tuple(second.shape)} must agree in shape"
        )
    with torch.autocast(first.device.type, enabled=False):
        a, b = first.float(), second.float()
        axes = tuple(range(2, a.ndim))
        # without the mean of the whole, squares of large numbers would be taken from each other
        a, b = a - a.mean(dim=axes, keepdim=True), b - b.mean(dim=axes, keepdim=True)
        mean_a, mean_b, aa, bb, ab = (
            _local_mean(values, window) for values in (a, b, a * a, b * b, a * b)
        )
        variance_a = (aa - mean_a.square()).clamp(min=0.0)
        variance_b = (bb - mean_b.square()).clamp(min=0.0)
        voxels = float(window ** len(axes))
        # sums, not means, meet epsilon in the reference code
        shared = (ab - mean_a * mean_b).square() * voxels**2
        return 1.0 - (shared / (variance_a * variance_b * voxels**2 + EPSILON)).mean()


def roughness(shifts: Tensor) -> Tensor:
    """Return the mean squared difference of the shifts of neighbouring voxels, over all axes.

    Args:
        shifts: ``(B, d, X, Y, Z)`` or ``(B, d, X, Y)``, in voxels.

    Returns:
        A scalar; 0 if all voxels move alike.
    """
    shifts = shifts.float()
    axes = range(2, shifts.ndim)
    steps = [shifts.diff(dim=axis).square() for axis in axes]
    return torch.stack([step.mean() if step.numel() else step.sum() for step in steps]).mean()


def _local_mean(values: Tensor, window: int) -> Tensor:
    """Return the mean of what lies in the window around each voxel, one axis after the other."""
    dims, half = values.ndim - 2, window // 2
    pool = F.avg_pool3d if dims == 3 else F.avg_pool2d
    for axis in range(dims):
        edges = [window if other == axis else 1 for other in range(dims)]
        beyond = [half if other == axis else 0 for other in reversed(range(dims)) for _ in "ab"]
        size = values.shape[axis + 2]
        place = torch.arange(size, device=values.device)
        inside = (place + half).clamp(max=size - 1) - (place - half).clamp(min=0) + 1
        share = window / inside.view([-1 if other == axis else 1 for other in range(dims)])
        values = pool(F.pad(values, beyond), edges, 1) * share
    return values
