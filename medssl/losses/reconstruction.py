"""Losses of methods that rebuild what was hidden."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["masked_mse", "normalise_cells"]


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
    return error.square().sum() / hidden.sum().clamp(min=1)


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
