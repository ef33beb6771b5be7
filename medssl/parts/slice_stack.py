"""Planar parts of volumes that are on the device already."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["random_window", "slice_stack"]


def slice_stack(volumes: Tensor, layer: int, generator: torch.Generator) -> Tensor:
    """Return one axial slice at random of each layer, the same ones of all volumes.

    Args:
        volumes: ``(B, C, X, Y, Z)``.
        layer: Slices of a layer; those beyond the last whole one are left out.
        generator: Where the randomness comes from.

    Returns:
        ``(B * layers, C, X, Y)``, those of one volume together, lowest first.

    Example:
        >>> slice_stack(torch.zeros(2, 1, 8, 8, 12), 4, torch.Generator()).shape
        torch.Size([6, 1, 8, 8])
    """
    layers = volumes.shape[-1] // layer
    drawn = torch.randint(layer, (layers,), generator=generator, device=generator.device)
    index = drawn.to(volumes.device) + layer * torch.arange(layers, device=volumes.device)
    return volumes.index_select(-1, index).movedim(-1, 1).flatten(0, 1)


def random_window(images: Tensor, edges: Sequence[int], generator: torch.Generator) -> Tensor:
    """Return a part of images, at one random place for all of them.

    Args:
        images: ``(B, C, X, Y, Z)`` or ``(B, C, X, Y)``.
        edges: Voxels along each axis of the part.
        generator: Where the randomness comes from.
    """
    for axis, edge in enumerate(edges, start=2):
        room = images.shape[axis] - edge + 1
        start = torch.randint(room, (1,), generator=generator, device=generator.device)
        index = start.to(images.device) + torch.arange(edge, device=images.device)
        images = images.index_select(axis, index)
    return images
