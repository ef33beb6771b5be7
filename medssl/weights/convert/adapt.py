"""Changes that let weights serve another input: channels of the stem, grid of the positions."""

from __future__ import annotations

import torch
from torch import Tensor

from medssl.encoders.tokens import resize_positions as interpolate
from medssl.errors import WeightsMismatchError

__all__ = ["adapt_stem", "resize_positions"]


def adapt_stem(weight: Tensor, in_channels: int) -> Tensor:
    """Return a stem for another number of channels, with the same answer to the same image.

    From one channel it is repeated and divided, so that copies of one image give what the image
    gave; to one channel it is summed, so that an image gives what copies of it gave.

    Args:
        weight: ``(out, channels, …)``.
        in_channels: Channels wanted.

    Raises:
        WeightsMismatchError: If neither number is 1, since nothing says which channel is which.
    """
    given = weight.shape[1]
    if given == in_channels:
        return weight
    if given == 1:
        return weight.repeat(1, in_channels, *(1,) * (weight.ndim - 2)) / in_channels
    if in_channels == 1:
        return weight.sum(dim=1, keepdim=True)
    raise WeightsMismatchError(
        f"the stem reads {given} channels and {in_channels} are wanted; it can be adapted from or "
        "to one channel alone"
    )


def resize_positions(positions: Tensor, grid: tuple[int, ...], wanted: tuple[int, ...]) -> Tensor:
    """Return learned positions on another grid, interpolated linearly.

    Args:
        positions: ``(1, tokens, width)``, the last axis of the grid fastest.
        grid: The grid they were learned on.
        wanted: The grid asked for.

    Raises:
        WeightsMismatchError: If the tokens are not those of the grid.
    """
    if positions.shape[1] != int(torch.tensor(grid).prod()):
        raise WeightsMismatchError(
            f"{positions.shape[1]} positions make no grid of {grid}; the file is of another patch"
        )
    if grid == wanted:
        return positions
    return interpolate(positions, grid, wanted)
