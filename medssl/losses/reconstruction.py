"""Losses of methods that rebuild what was hidden."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["gradient_map", "masked_l1", "masked_mse", "normalise_cells"]


def masked_mse(prediction: Tensor, target: Tensor, hidden_voxels: Tensor) -> Tensor:
    """Return the mean squared error over the hidden voxels alone.

    Visible voxels count for nothing, not even when they are not finite. Computed in float32.

    Args:
        prediction: ``(B, C, X, Y, Z)`` or ``(B, C, X, Y)``.
        target: Of the same shape.
        hidden_voxels: Boolean, ``(B, 1, …)`` or ``(B, C, …)``; True where the voxel was hidden.

    Returns:
        A scalar; 0 if nothing is hidden.

    Raises:
        ValueError: If the shapes differ or the mask is not boolean.
    """
    error, count = _masked_error(prediction, target, hidden_voxels)
    return error.square().sum() / count


def masked_l1(prediction: Tensor, target: Tensor, hidden_voxels: Tensor) -> Tensor:
    """Return the mean absolute error over the hidden voxels alone; otherwise :func:`masked_mse`.

    Args:
        prediction: ``(B, C, X, Y, Z)`` or ``(B, C, X, Y)``.
        target: Of the same shape.
        hidden_voxels: Boolean, ``(B, 1, …)`` or ``(B, C, …)``; True where the voxel was hidden.

    Returns:
        A scalar; 0 if nothing is hidden.
    """
    error, count = _masked_error(prediction, target, hidden_voxels)
    return error.abs().sum() / count


def _masked_error(
    prediction: Tensor, target: Tensor, hidden_voxels: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the difference, zero where visible, and how many voxels are hidden."""
    if prediction.shape != target.shape:
        raise ValueError(
            f"prediction {tuple(prediction.shape)} and target {tuple(target.shape)} "
            "must agree in shape"
        )
    if hidden_voxels.dtype != torch.bool:
        raise ValueError(
            f"the mask holds {hidden_voxels.dtype}; give booleans, True where a voxel was hidden"
        )
    hidden = hidden_voxels.expand_as(prediction)
    error = (prediction.float() - target.float()).masked_fill(~hidden, 0.0)
    return error, hidden.sum().clamp(min=1)


def gradient_map(image: Tensor) -> Tensor:
    """Return how steep the image is at each voxel: the length of Sobel's gradient.

    Each derivative is a central difference, smoothed along the other axes by 1, 2, 1 over 4, so
    that a ramp of one intensity a voxel gives 1. Borders repeat their voxel.

    Args:
        image: ``(B, C, X, Y, Z)`` or ``(B, C, X, Y)``.

    Returns:
        Float32, of the shape of ``image``.

    Example:
        >>> ramp = torch.arange(5.0).view(1, 1, 5, 1).expand(1, 1, 5, 3)
        >>> gradient_map(ramp)[0, 0, :, 1].tolist()
        [0.5, 1.0, 1.0, 1.0, 0.5]
    """
    values = image.float()
    total = torch.zeros_like(values)
    for axis in range(2, image.ndim):
        slope = values
        for other in range(2, image.ndim):
            before, after = _neighbours(slope, other)
            if other == axis:
                slope = (after - before) / 2.0
            else:
                slope = (before + 2.0 * slope + after) / 4.0
        total = total + slope.square()
    return total.sqrt()


def _neighbours(image: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Return the voxel before and the voxel after each voxel along an axis."""
    size = image.shape[axis]
    first, last = image.narrow(axis, 0, 1), image.narrow(axis, size - 1, 1)
    before = torch.cat([first, image.narrow(axis, 0, size - 1)], dim=axis)
    after = torch.cat([image.narrow(axis, 1, size - 1), last], dim=axis)
    return before, after


def normalise_cells(image: Tensor, grid: Sequence[int], *, epsilon: float = 1e-6) -> Tensor:
    """Give each cell of a grid mean 0 and variance 1: the per-patch targets of the MAE paper.

    It makes every cell count alike, at the price of the absolute intensity, which for CT has a
    meaning.

    Args:
        image: ``(B, C, X, Y, Z)`` or ``(B, C, X, Y)``.
        grid: Number of cells along each axis; it must tile the image.
        epsilon: Added to the variance, for cells of one intensity.

    Returns:
        Float32, of the shape of ``image``.

    Raises:
        ValueError: If the grid does not tile the image.
    """
    spatial = tuple(image.shape[2:])
    if len(grid) != len(spatial) or any(s % g for s, g in zip(spatial, grid, strict=True)):
        raise ValueError(
            f"a grid of {tuple(grid)} cells does not tile an image of {spatial} voxels"
        )
    split: list[int] = []
    for length, cells in zip(spatial, grid, strict=True):
        split += [cells, length // cells]
    cells_of = image.float().reshape(*image.shape[:2], *split)
    within = tuple(range(3, cells_of.ndim, 2))
    variance, mean = torch.var_mean(cells_of, dim=within, keepdim=True)
    return ((cells_of - mean) / (variance + epsilon).sqrt()).reshape(image.shape)
