"""Which cells of a batch are visible, and the moving of voxels between images and cells."""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.errors import ConfigError
from medssl.types import Shape

__all__ = ["Cells", "put_back", "surround"]


class Cells:
    """The visible cells of a batch, in the order of samples and then of the grid.

    Args:
        hidden: ``(B, gx, gy, gz)``, True where hidden, equally often in each sample.

    Attributes:
        batch: Samples.
        grid: Cells of a sample along each axis.
        count: Visible cells of each sample.
        places: Where they lie: the sample, then the place on each axis, each ``(B * count,)``.

    Raises:
        ConfigError: If the samples hide different numbers of cells, or hide all.
    """

    def __init__(self, hidden: Tensor) -> None:
        counts = (~hidden).flatten(1).sum(dim=1).tolist()
        if len(set(counts)) > 1 or counts[0] == 0:
            raise ConfigError(
                f"the samples of a batch show {sorted(set(counts))} cells; a mask must show some, "
                "and equally many in each, or the visible ones do not stack"
            )
        self.batch = len(hidden)
        self.grid: Shape = tuple(hidden.shape[1:])
        self.count = int(counts[0])
        self.places = (~hidden).nonzero(as_tuple=True)
        numbers = torch.full(hidden.shape, -1, dtype=torch.long, device=hidden.device)
        numbers[self.places] = torch.arange(self.batch * self.count, device=hidden.device)
        self._numbers = numbers
        self._margins: dict[tuple[Shape, Shape], tuple[Tensor, Tensor]] = {}

    def edges(self, shape: Shape) -> Shape:
        """Return the voxels of a cell along each axis, of maps of ``shape``."""
        return tuple(size // count for size, count in zip(shape, self.grid, strict=True))

    def by_cell(self, image: Tensor) -> Tensor:
        """View ``(B, X, Y, Z, C)`` as ``(B, gx, gy, gz, x, y, z, C)``."""
        dims = len(self.grid)
        split: list[int] = []
        for edge, count in zip(self.edges(tuple(image.shape[1:-1])), self.grid, strict=True):
            split += [count, edge]
        order = [0, *range(1, 2 * dims, 2), *range(2, 2 * dims + 1, 2), 2 * dims + 1]
        return image.reshape(len(image), *split, image.shape[-1]).permute(order)

    def margin(self, edges: Shape, width: Shape) -> tuple[Tensor, Tensor]:
        """Return which voxels around the blocks are visible, and where they come from.

        Args:
            edges: Of a block.
            width: Voxels around it at each end of each axis.

        Returns:
            Numbers of voxels in all blocks with their margins, and in all blocks without.
        """
        if (edges, width) not in self._margins:
            self._margins[edges, width] = self._find_margin(edges, width)
        return self._margins[edges, width]

    def _find_margin(self, edges: Shape, width: Shape) -> tuple[Tensor, Tensor]:
        device = self._numbers.device
        lines = [
            torch.arange(-wide, edge + wide, device=device)
            for edge, wide in zip(edges, width, strict=True)
        ]
        around = torch.cartesian_prod(*lines)
        size = torch.tensor(edges, device=device)
        outside = ((around < 0) | (around >= size)).any(dim=1)
        at = outside.nonzero().squeeze(1)
        cell = torch.div(around[at], size, rounding_mode="floor")
        within = around[at] - cell * size
        voxel = torch.zeros_like(at)
        for axis, edge in enumerate(edges):
            voxel = voxel * edge + within[:, axis]
        # beyond the image there is nothing, as beyond hidden cells
        reach = [-(-wide // edge) for edge, wide in zip(edges, width, strict=True)]
        padding = list(itertools.chain.from_iterable((far, far) for far in reversed(reach)))
        numbers = F.pad(self._numbers, padding, value=-1)
        sample, *place = self.places
        neighbour = numbers[
            (
                sample[:, None],
                *(line[:, None] + cell[:, axis] + reach[axis] for axis, line in enumerate(place)),
            )
        ]
        block, which = (neighbour >= 0).nonzero(as_tuple=True)
        source = neighbour[block, which] * int(size.prod()) + voxel[which]
        return block * len(around) + at[which], source


def surround(rows: Tensor, cells: Cells, width: Shape, fill: float) -> Tensor:
    """Return blocks with voxels of their visible neighbours around them.

    Args:
        rows: ``(B * count, x, y, z, C)``.
        cells: Where the blocks lie.
        width: Voxels around a block at each end of each axis.
        fill: What stands where there is no visible neighbour.
    """
    place, source = cells.margin(tuple(rows.shape[1:-1]), width)
    found: Tensor = _Surround.apply(rows, place, source, width, fill)  # type: ignore[no-untyped-call]
    return found


def put_back(rows: Tensor, cells: Cells, fill: Tensor) -> Tensor:
    """Return the image ``(B, X, Y, Z, C)`` of blocks.

    Args:
        rows: ``(B * count, x, y, z, C)``.
        cells: Where the blocks lie.
        fill: ``(C,)``, what stands at hidden places.
    """
    found: Tensor = _PutBack.apply(rows, fill.to(rows.dtype), cells)  # type: ignore[no-untyped-call]
    return found


def _inside(width: Shape, edges: Shape) -> tuple[slice, ...]:
    inner = (slice(wide, wide + edge) for wide, edge in zip(width, edges, strict=True))
    return (slice(None), *inner)


class _Surround(torch.autograd.Function):
    """Copy what is one's own in one go and the rest by its number; backward adds it up again."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, place: Tensor, source: Tensor, width: Shape, fill: float
    ) -> Tensor:
        edges = tuple(rows.shape[1:-1])
        wide = [edge + 2 * more for edge, more in zip(edges, width, strict=True)]
        windows = rows.new_full((len(rows), *wide, rows.shape[-1]), fill)
        windows[_inside(width, edges)] = rows
        windows.view(-1, rows.shape[-1])[place] = rows.view(-1, rows.shape[-1])[source]
        ctx.save_for_backward(place, source)
        ctx.width, ctx.edges = width, edges
        return windows

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        place, source = ctx.saved_tensors
        asked = gradients[0].contiguous()
        channels = asked.shape[-1]
        mine = asked[_inside(ctx.width, ctx.edges)].contiguous()
        mine.view(-1, channels).index_add_(0, source, asked.view(-1, channels)[place])
        return mine, None, None, None, None


class _PutBack(torch.autograd.Function):
    """Lay the image out once, full of what fills it, and write the blocks into it."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, fill: Tensor, cells: Cells) -> Tensor:
        sizes = (n * edge for n, edge in zip(cells.grid, rows.shape[1:-1], strict=True))
        image = fill.expand(cells.batch, *sizes, -1).contiguous()
        cells.by_cell(image)[cells.places] = rows
        ctx.cells = cells
        return image

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None]:
        rows = ctx.cells.by_cell(gradients[0])[ctx.cells.places]
        if not ctx.needs_input_grad[1]:
            return rows, None, None
        # what hidden places ask for is what all do less what the visible ones do
        every = gradients[0].flatten(0, -2).sum(dim=0) - rows.flatten(0, -2).sum(dim=0)
        return rows, every, None
