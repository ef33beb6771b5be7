"""Which part of an image is hidden from the encoder.

A mask is a boolean grid of cells, True where hidden; the encoder decides what hiding means (dropped
tokens, zeros, masked convolution), so one mask serves every masked method.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medssl.errors import ConfigError
from medssl.types import Shape

__all__ = ["RandomCells"]


class RandomCells:
    """Hide a fixed share of equal cells, chosen uniformly and anew for each image.

    Every image hides exactly as many cells as the next, so that the visible tokens of a batch
    stack.

    Args:
        ratio: Share of the cells to hide, in (0, 1).
        size: Edge of a cell in voxels, one number or one an axis; a multiple of the encoder's patch
            or stride.

    Raises:
        ConfigError: If the ratio or the size makes no sense.

    Example:
        >>> mask = RandomCells(ratio=0.75, size=8)
        >>> mask((2, 1, 32, 32, 16), torch.Generator().manual_seed(0)).shape
        torch.Size([2, 4, 4, 2])
    """

    def __init__(self, *, ratio: float = 0.75, size: int | Shape = 16) -> None:
        if not 0.0 < ratio < 1.0:
            raise ConfigError(f"mask ratio was {ratio}; it must lie between 0 and 1, both excluded")
        edges = (size,) if isinstance(size, int) else tuple(size)
        if not edges or min(edges) < 1:
            raise ConfigError(f"mask cells of {size} voxels were asked for; edges must be positive")
        self.ratio = ratio
        self.size = size

    def grid(self, patch: Sequence[int]) -> Shape:
        """Return the number of cells along each axis of a patch.

        Raises:
            ConfigError: If cells do not tile the patch.
        """
        edges = (self.size,) * len(patch) if isinstance(self.size, int) else tuple(self.size)
        if len(edges) != len(patch):
            raise ConfigError(
                f"mask cells have {len(edges)} axes and the patch {tuple(patch)} has {len(patch)}; "
                "give one edge an axis, or a single number"
            )
        if any(length % edge for length, edge in zip(patch, edges, strict=True)):
            raise ConfigError(
                f"mask cells of {edges} voxels do not tile a patch of {tuple(patch)}; choose "
                "a patch whose every edge is a multiple of the cell's"
            )
        return tuple(length // edge for length, edge in zip(patch, edges, strict=True))

    def hidden_count(self, grid: Sequence[int]) -> int:
        """Return how many of a grid's cells are hidden in each image.

        Raises:
            ConfigError: If that would be none or all.
        """
        cells = 1
        for length in grid:
            cells *= length
        hidden = round(self.ratio * cells)
        if not 0 < hidden < cells:
            raise ConfigError(
                f"a mask ratio of {self.ratio} hides {hidden} of {cells} cells {tuple(grid)}; use "
                "smaller cells or a larger patch, so that some are hidden and some visible"
            )
        return hidden

    def __call__(
        self,
        shape: Sequence[int],
        generator: torch.Generator,
        device: torch.device | None = None,
    ) -> Tensor:
        """Draw a mask for a batch.

        Args:
            shape: Shape of the images, ``(B, C, X, Y, Z)`` or ``(B, C, X, Y)``.
            generator: Where the randomness comes from.
            device: Where the mask is wanted; by default where the generator lives.

        Returns:
            ``(B, gx, gy, gz)`` boolean with exactly ``round(ratio * cells)`` True in each image.

        Raises:
            ConfigError: If the cells do not tile the images.
        """
        grid = self.grid(shape[2:])
        count = self.hidden_count(grid)
        batch = shape[0]
        noise = torch.rand(batch, *grid, generator=generator, device=generator.device).flatten(1)
        chosen = noise.argsort(dim=1)[:, :count]
        hidden = torch.zeros_like(noise, dtype=torch.bool).scatter_(1, chosen, True)
        return hidden.view(batch, *grid).to(device or generator.device, non_blocking=True)
