"""Changes that let weights serve another input: channels, another axis, grid of the positions."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from medssl.encoders import build_encoder
from medssl.encoders.tokens import resize_positions as interpolate
from medssl.errors import ConfigError, WeightsMismatchError
from medssl.weights.convert.proposal import Proposal

__all__ = ["adapt_stem", "inflate_kernel", "inflated", "resize_positions", "with_channels"]


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


def inflate_kernel(weight: Tensor, depth: int) -> Tensor:
    """Return a planar kernel for volumes, repeated along the slices and divided by their number.

    A volume whose slices are all alike gets the answer that one of them got (Carreira and Zisserman
    2017, arXiv:1705.07750).

    Args:
        weight: ``(out, channels, x, y)``.
        depth: Voxels of the kernel along the slices.
    """
    return weight.unsqueeze(-1).repeat(1, 1, 1, 1, depth) / depth


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


def with_channels(proposal: Proposal, in_channels: int) -> Proposal:
    """Return a proposal whose stem reads another number of channels, see :func:`adapt_stem`."""
    stem = proposal.tensors.get(proposal.stem)
    if stem is None or stem.shape[1] == in_channels:
        return proposal
    how = "repeated and divided" if stem.shape[1] == 1 else "summed"
    return replace(
        proposal,
        config={**proposal.config, "in_channels": in_channels},
        tensors={**proposal.tensors, proposal.stem: adapt_stem(stem, in_channels)},
        adapted=(
            *proposal.adapted,
            f"{proposal.stem} {how}, from {stem.shape[1]} input channels to {in_channels}",
        ),
    )


def inflated(proposal: Proposal) -> Proposal:
    """Return a proposal for volumes, from one of convolutions on images.

    Raises:
        ConfigError: If it is of volumes already, or holds positions, which have no third axis.
    """
    if proposal.config.get("spatial_dims") != 2 or "token" in proposal.config:
        raise ConfigError(
            f"inflate makes volumes of planar convolutions, and a {proposal.family} encoder is not "
            "made of these; leave it out"
        )
    config = {**proposal.config, "spatial_dims": 3}
    with torch.device("meta"):
        wanted = build_encoder(proposal.encoder, **config).state_dict()
    tensors = {
        name: inflate_kernel(tensor, wanted[name].shape[-1])
        if tensor.ndim == 4 and name in wanted
        else tensor
        for name, tensor in proposal.tensors.items()
    }
    return replace(
        proposal,
        config=config,
        tensors=tensors,
        adapted=(*proposal.adapted, "kernels repeated along the slices and divided, from 2D to 3D"),
        contract=replace(proposal.contract, patch=(96, 96, 96)),
    )
