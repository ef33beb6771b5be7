"""Masks that belong together: every cell of an image is used, and none more often than another.

One random order of the cells is cut into equal parts, so that what one view hides another shows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from medssl.errors import ConfigError
from medssl.parts.masking import RandomCells
from medssl.types import Shape

__all__ = ["DisjointCells", "share_cells"]


def share_cells(batch: int, grid: Sequence[int], owners: int, generator: torch.Generator) -> Tensor:
    """Deal the cells of a grid out among owners at random, equally many to each.

    Args:
        batch: Number of images.
        grid: Cells along each axis.
        owners: How many there are.
        generator: Where the randomness comes from.

    Returns:
        ``(batch, *grid)`` numbers from 0 to ``owners - 1``.

    Raises:
        ConfigError: If the cells can't be shared equally.

    Example:
        >>> owner = share_cells(1, (4, 4), 4, torch.Generator().manual_seed(0))
        >>> owner.flatten().bincount().tolist()
        [4, 4, 4, 4]
    """
    cells = math.prod(grid)
    if cells % owners or cells == 0:
        raise ConfigError(
            f"{cells} cells {tuple(grid)} can't be shared equally among {owners}; use smaller "
            "cells, another patch or another number"
        )
    return _random_rank(batch, cells, generator).remainder(owners).view(batch, *grid)


def _random_rank(batch: int, cells: int, generator: torch.Generator) -> Tensor:
    """Return a random place in line for each cell, ``(batch, cells)``."""
    noise = torch.rand(batch, cells, generator=generator, device=generator.device)
    return noise.argsort(dim=1).argsort(dim=1)


class DisjointCells:
    """Several masks of each image that hide as few cells twice as their share permits.

    The cells stand in a random circle, and each mask hides the stretch after that of the mask
    before. Where all masks together hide as many cells as there are, they are disjoint and every
    cell is hidden once; where they hide more, no cell is hidden two times more often than another.

    Args:
        views: Masks an image.
        ratio: Share of the cells that each hides, in (0, 1).
        size: Edge of a cell in voxels, one number or one an axis.

    Raises:
        ConfigError: If all masks together can't hide every cell.

    Example:
        >>> mask = DisjointCells(views=2, ratio=0.5, size=8)
        >>> first, second = mask((1, 1, 32, 32), torch.Generator().manual_seed(0))
        >>> bool((first ^ second).all())
        True
    """

    def __init__(self, *, views: int = 2, ratio: float = 0.5, size: int | Shape = 16) -> None:
        self.cells = RandomCells(ratio=ratio, size=size)
        self.views = views
        if views < 1 or views * ratio < 1.0:
            raise ConfigError(
                f"{views} masks that hide {ratio} of the cells each leave some that none hides; "
                f"use {math.ceil(1.0 / ratio)} or more, or a larger ratio"
            )

    def __call__(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """Draw the masks of a batch.

        Args:
            shape: Shape of the images, ``(B, C, X, Y, Z)`` or ``(B, C, X, Y)``.
            generator: Where the randomness comes from.

        Returns:
            ``(views * B, gx, gy, gz)`` boolean: the first masks of all images, then the second.

        Raises:
            ConfigError: If the cells do not tile the images.
        """
        grid = self.cells.grid(shape[2:])
        total, count = math.prod(grid), self.cells.hidden_count(grid)
        rank = _random_rank(shape[0], total, generator)
        # evenly spaced starts; a step of at most `count` leaves no cell out
        starts = [total * view // self.views for view in range(self.views)]
        masks = [(rank - start).remainder(total) < count for start in starts]
        return torch.cat(masks).view(-1, *grid)
