"""Masks of blocks, and masks that hide much of some images and nothing of others.

A block hides what its neighbours would tell, so that an answer takes more than copying a border
(I-JEPA, Assran et al. 2023, arXiv:2301.08243; iBOT).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from medssl.errors import ConfigError
from medssl.parts.masking import RandomCells
from medssl.types import Shape

__all__ = ["BlockCells", "PartialCells", "block_order"]

MOST_BLOCKS = 16


def block_order(
    batch: int,
    grid: Shape,
    generator: torch.Generator,
    *,
    share: tuple[float, float] = (0.15, 0.2),
    aspect: float = 1.5,
) -> Tensor:
    """Rank the cells of a grid so that the first of them fill one random block after another.

    Args:
        batch: Number of images.
        grid: Cells along each axis.
        generator: Where the randomness comes from.
        share: Smallest and largest part of the grid that a block fills.
        aspect: Largest ratio of two edges of a block, measured in edges of the grid.

    Returns:
        ``(batch, cells)``: the rank of each cell, in the order of memory.
    """
    dims, device = len(grid), generator.device

    def draw(*shape: int) -> Tensor:
        return torch.rand(batch, MOST_BLOCKS, *shape, generator=generator, device=device)

    volume = share[0] + (share[1] - share[0]) * draw(1)
    stretch = (draw(dims) - 0.5) * math.log(aspect)
    edges = (volume.log() / dims + stretch - stretch.mean(dim=2, keepdim=True)).exp()
    sizes = torch.tensor(grid, device=device)
    edges = torch.minimum((edges * sizes).round().clamp(min=1), sizes)
    start = (draw(dims) * (sizes - edges + 1)).floor()
    inside = torch.ones(batch, MOST_BLOCKS, *[1] * dims, dtype=torch.bool, device=device)
    for axis, size in enumerate(grid):
        place = torch.arange(size, device=device)
        low = start[:, :, axis, None]
        line = (place >= low) & (place < low + edges[:, :, axis, None])
        shape = [batch, MOST_BLOCKS, *[1] * dims]
        shape[2 + axis] = size
        inside = inside & line.view(shape)
    covered = inside.flatten(2)
    number = torch.where(covered.any(dim=1), covered.to(torch.uint8).argmax(dim=1), MOST_BLOCKS)
    # within the last block that counts, cells go in the order of memory: a part of a block stays
    # in one piece
    return number.argsort(dim=1, stable=True).argsort(dim=1)


class BlockCells(RandomCells):
    """Hide a fixed share of the cells in blocks, the last of which is cut to make the share exact.

    Args:
        ratio: Share of the cells to hide, in (0, 1).
        size: Edge of a cell in voxels, one number or one an axis.
        share: Smallest and largest part of the image that a block fills.
        aspect: Largest ratio of two edges of a block.

    Raises:
        ConfigError: If the ratio, the size, the share or the aspect makes no sense.

    Example:
        >>> mask = BlockCells(ratio=0.6, size=8)
        >>> int(mask((1, 1, 32, 32, 16), torch.Generator().manual_seed(0)).sum())
        19
    """

    def __init__(
        self,
        *,
        ratio: float = 0.6,
        size: int | Shape = 16,
        share: tuple[float, float] = (0.15, 0.2),
        aspect: float = 1.5,
    ) -> None:
        super().__init__(ratio=ratio, size=size)
        if not 0.0 < share[0] <= share[1] <= 1.0 or aspect < 1.0:
            raise ConfigError(
                f"blocks of a share of {share} with edges up to {aspect} times each other were "
                "asked for; shares lie in (0, 1], lower first, and the aspect is at least 1"
            )
        self.share = (share[0], share[1])
        self.aspect = aspect

    def __call__(
        self,
        shape: Sequence[int],
        generator: torch.Generator,
        device: torch.device | None = None,
    ) -> Tensor:
        """Draw a mask for a batch, see :meth:`RandomCells.__call__`."""
        grid = self.grid(shape[2:])
        count = self.hidden_count(grid)
        order = block_order(shape[0], grid, generator, share=self.share, aspect=self.aspect)
        hidden = (order < count).view(shape[0], *grid)
        return hidden.to(device or generator.device, non_blocking=True)


class PartialCells(RandomCells):
    """Hide a part of the cells of some images, each its own part, and nothing of the others.

    Which images hide how much is drawn; how many cells a batch hides in all is not, so that all
    ranks of a run compare as many.

    Args:
        images: Share of the images that hide anything; at least one does.
        ratio: Least and greatest share of the cells that such an image hides.
        size: Edge of a cell in voxels, one number or one an axis.
        blocks: Whether cells are hidden in blocks; else each by itself.

    Raises:
        ConfigError: If a share lies outside [0, 1] or the size makes no sense.
    """

    def __init__(
        self,
        *,
        images: float = 0.5,
        ratio: tuple[float, float] = (0.2, 0.75),
        size: int | Shape = 16,
        blocks: bool = False,
    ) -> None:
        if not 0.0 < images <= 1.0 or not 0.0 < ratio[0] <= ratio[1] < 1.0:
            raise ConfigError(
                f"masks for {images} of the images with ratios of {ratio} were asked for; shares "
                "lie between 0 and 1, lower first"
            )
        super().__init__(ratio=(ratio[0] + ratio[1]) / 2, size=size)
        self.images = images
        self.ratios = (ratio[0], ratio[1])
        self.blocks = blocks

    def __call__(
        self,
        shape: Sequence[int],
        generator: torch.Generator,
        device: torch.device | None = None,
    ) -> Tensor:
        """Draw a mask for a batch, see :meth:`RandomCells.__call__`; images hide unequal parts."""
        batch, grid = shape[0], self.grid(shape[2:])
        cells = math.prod(grid)
        masked = max(1, round(self.images * batch))
        low, high = self.ratios
        ratios = [low + (high - low) * (i + 0.5) / masked for i in range(masked)]
        counts = [min(max(1, round(ratio * cells)), cells) for ratio in ratios]
        counts += [0] * (batch - masked)
        home = generator.device
        turn = torch.randperm(batch, generator=generator, device=home)
        count = torch.tensor(counts, device=home)[turn]
        if self.blocks:
            order = block_order(batch, grid, generator)
        else:
            noise = torch.rand(batch, cells, generator=generator, device=home)
            order = noise.argsort(dim=1).argsort(dim=1)
        hidden = (order < count.unsqueeze(1)).view(batch, *grid)
        return hidden.to(device or home, non_blocking=True)
