"""Masked convolution: run a CNN on the visible cells of an image alone, with its own weights.

After SparK (Tian et al. 2023, arXiv:2301.03580) and its form in 3D (Wald et al. 2024,
arXiv:2410.23132). nnssl convolves the whole image, multiplies every result with the mask and lets
norms gather what is left of it; its first convolution sees the hidden voxels, so that some of them
leak through the borders of cells. Here only visible cells exist: they are kept as small blocks, and
before a convolution each gets a margin from its visible neighbours, zero where there is none. The
numbers are the same, hidden voxels are in no tensor, and three quarters of the work are not done.

Where a map would become coarser than the cells, blocks are put back into an image, zero where
hidden, and all that follows is dense, as in nnssl.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, cast

import torch
from torch import Tensor

from medssl.encoders.base import Encoder
from medssl.encoders.blockwise import BY_VOXEL, REACHING, refuse
from medssl.encoders.cells import Cells, put_back, surround
from medssl.errors import ConfigError
from medssl.types import Shape

__all__ = ["VisibleBlocks", "visible_maps"]


def visible_maps(encoder: Encoder, x: Tensor, hidden: Tensor) -> list[VisibleBlocks | Tensor]:
    """Return the maps that an encoder makes of the visible cells of an image.

    Args:
        encoder: A CNN: convolutions, pools, norms and what acts on single voxels.
        x: ``(B, C, X, Y, Z)`` or ``(B, C, X, Y)``.
        hidden: ``(B, gx, gy, gz)``, True where hidden, equally often in each sample.

    Returns:
        Finest first: blocks where a map is as fine as the cells, and plain maps where coarser.

    Raises:
        ConfigError: If the encoder does something with images that is not known here.
    """
    blocks = VisibleBlocks.cut(x, Cells(hidden))
    return cast("list[VisibleBlocks | Tensor]", encoder(blocks))


class VisibleBlocks:
    """The visible cells of a batch of maps, which networks take for a batch of images.

    To a network it looks like an image in which the cells of a sample stand one behind the other
    along the first axis: what acts on voxels, and norms, need not know more. What reaches beyond a
    voxel comes through ``__torch_function__``.

    Args:
        rows: ``(B * visible, *edges, C)``, contiguous.
        cells: Where they lie.
    """

    def __init__(self, rows: Tensor, cells: Cells) -> None:
        self.rows = rows
        self.cells = cells

    @classmethod
    def cut(cls, x: Tensor, cells: Cells) -> VisibleBlocks:
        """Return the visible cells of ``(B, C, X, Y, Z)``."""
        return cls(cells.by_cell(x.movedim(1, -1))[cells.places].contiguous(), cells)

    @property
    def edges(self) -> Shape:
        """Voxels of a block along each axis."""
        return tuple(self.rows.shape[1:-1])

    @property
    def blocks(self) -> Tensor:
        """The blocks ``(B * visible, C, *edges)``, without a copy."""
        return self.rows.movedim(-1, 1)

    @property
    def stacked(self) -> Tensor:
        """The blocks of each sample behind each other, ``(B, C, visible * x, y, z)``, no copy."""
        first, *others = self.edges
        shape = (self.cells.batch, self.cells.count * first, *others, self.rows.shape[-1])
        return self.rows.view(shape).movedim(-1, 1)

    def dense(self, fill: Tensor | None = None) -> Tensor:
        """Put the blocks back into a map ``(B, C, X, Y, Z)``.

        Args:
            fill: ``(C,)``, what stands at hidden places; zeros if none is given.
        """
        fill = self.rows.new_zeros(self.rows.shape[-1]) if fill is None else fill
        return put_back(self.rows, self.cells, fill).movedim(-1, 1)

    def windows(self, margin: Shape, fill: float = 0.0) -> Tensor:
        """Return the blocks with voxels of their visible neighbours around them.

        Args:
            margin: Voxels at each end of each axis.
            fill: What stands where there is no visible neighbour.

        Returns:
            ``(B * visible, C, x + 2 * margin, …)``.
        """
        if not any(margin):
            return self.blocks
        return surround(self.rows, self.cells, margin, fill).movedim(-1, 1)

    # What follows is what networks ask of a tensor.

    @property
    def shape(self) -> torch.Size:
        """Of the stacked blocks."""
        return self.stacked.shape

    @property
    def ndim(self) -> int:
        """Axes of an image: 4 or 5."""
        return self.rows.ndim

    def dim(self) -> int:
        """Return the axes of an image: 4 or 5."""
        return self.rows.ndim

    def size(self, axis: int | None = None) -> int | torch.Size:
        """Return the lengths of the axes of the stacked blocks, or one of them."""
        return self.shape if axis is None else self.shape[axis]

    @property
    def is_cpu(self) -> bool:
        """Whether the voxels are in the memory of the host."""
        return self.rows.is_cpu

    def contiguous(self, **_options: Any) -> VisibleBlocks:
        """Return the blocks: they always are, channels last."""
        return self

    def __getitem__(self, index: tuple[int | slice, ...]) -> Any:
        """Return every n-th voxel of the map, or the channels of one sample."""
        if all(isinstance(one, slice) for one in index):
            steps = tuple(one.step or 1 for one in index if isinstance(one, slice))[2:]
            if not self.holds_whole(steps):
                return self.dense()[index]
        thinned = self.stacked[index]
        return self.of_stacked(thinned) if thinned.ndim == self.ndim else thinned

    def __add__(self, other: VisibleBlocks | Tensor) -> VisibleBlocks:
        """Return the sum of two maps, or of a map and a number a channel, ``(1, C, 1, 1, 1)``."""
        if isinstance(other, VisibleBlocks):
            return VisibleBlocks(self.rows + other.rows, self.cells)
        return self.of_stacked(self.stacked + other)

    def __mul__(self, other: Tensor) -> VisibleBlocks:
        """Return the map times a number a channel, ``(1, C, 1, 1, 1)``."""
        return self.of_stacked(self.stacked * other)

    __iadd__ = __add__

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse what is not known to be right for blocks.

        Raises:
            ConfigError: Always.
        """
        if name.startswith("__"):
            raise AttributeError(name)
        refuse(name)

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Do what ``torch`` functions do to an image, to the visible part of one."""
        kwargs = dict(kwargs or {})
        # views of one memory come in and go out, and changing these in place costs autograd copies
        kwargs.pop("inplace", None)
        if func in REACHING:
            return REACHING[func](*args, **kwargs)
        if func not in BY_VOXEL:
            refuse(getattr(func, "__name__", str(func)))
        mine = next(value for value in args if isinstance(value, VisibleBlocks))
        plain = [value.stacked if isinstance(value, VisibleBlocks) else value for value in args]
        return mine.of_stacked(func(*plain, **kwargs))

    def of_stacked(self, stacked: Tensor) -> VisibleBlocks:
        """Return stacked blocks of these cells as blocks."""
        last = stacked.movedim(1, -1)
        first = last.shape[1] // self.cells.count
        shape = (len(self.rows), first, *last.shape[2:])
        return VisibleBlocks(last.reshape(shape), self.cells)

    def followed_by(self, found: Tensor, steps: Shape) -> VisibleBlocks:
        """Return what was made of these blocks, ``(B * visible, x, y, z, C)``, as blocks.

        Raises:
            ConfigError: If the blocks do not have the size that the steps between them ask for.
        """
        wanted = tuple(edge // step for edge, step in zip(self.edges, steps, strict=True))
        if tuple(found.shape[1:-1]) != wanted:
            refuse(f"a window that makes {tuple(found.shape[1:-1])} of {self.edges} voxels")
        return VisibleBlocks(found.contiguous(), self.cells)

    def holds_whole(self, steps: Shape) -> bool:
        """Say whether a map at so many steps is still as fine as the cells.

        Raises:
            ConfigError: If a step would cross the border of a cell.
        """
        if all(edge % step == 0 for edge, step in zip(self.edges, steps, strict=True)):
            return True
        if any(e % s and s % e for e, s in zip(self.edges, steps, strict=True)):
            raise ConfigError(
                f"cells of {self.edges} voxels at some depth of the encoder meet a stride of "
                f"{steps}; make the edge of a hidden cell (method.mask_size) a multiple of the "
                "encoder's strides, as 8 or 16 are"
            )
        return False
