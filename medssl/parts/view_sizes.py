"""Edges of small views and of hidden cells that an encoder can make something of."""

from __future__ import annotations

from collections.abc import Sequence

from medssl.errors import ConfigError
from medssl.types import Shape

__all__ = ["coarsest_cells", "local_edges"]


def local_edges(patch: Shape, strides: Sequence[Shape]) -> Shape:
    """Return the edges of a small view: half of the patch, as in 3DINO (96 and 48).

    They are enlarged to whole tokens, and to two cells of the coarsest map where the patch has
    them: of a map with one cell a convolutional encoder takes no norm.

    Args:
        patch: Edges of a large view in voxels.
        strides: Of the encoder's maps, finest first.

    Example:
        >>> local_edges((96, 96, 24), [(16, 16, 16)])
        (48, 48, 24)
    """
    edges = []
    for edge, fine, coarse in zip(patch, strides[0], strides[-1], strict=True):
        least = max(-(-edge // 2), 3 * coarse // 2)
        edges.append(min(edge, -(-least // fine) * fine))
    return tuple(edges)


def coarsest_cells(patch: Shape, strides: Sequence[Shape], size: int | None) -> Shape:
    """Return the edges of cells to hide so that each is some whole places of the coarsest map.

    Args:
        patch: Edges of the images in voxels.
        strides: Of the encoder's maps, finest first.
        size: Edge of a cell in voxels; none takes the coarsest stride.

    Raises:
        ConfigError: If cells of that size are no whole places, do not tile the patch or are too few
            to hide some and show some.

    Example:
        >>> coarsest_cells((64, 64, 32), [(8, 8, 8), (16, 16, 16)], None)
        (16, 16, 16)
    """
    coarse = tuple(strides[-1])
    edges = coarse if size is None else (size,) * len(coarse)
    if any(edge % stride for edge, stride in zip(edges, coarse, strict=True)):
        raise ConfigError(
            f"cells of {edges} voxels are to be hidden from an encoder whose coarsest map has a "
            f"place every {coarse}; give method.mask_size a multiple of that, or leave it out"
        )
    if any(length % edge for length, edge in zip(patch, edges, strict=True)) or patch == edges:
        raise ConfigError(
            f"hidden cells of {edges} voxels do not tile a patch of {patch} into several; choose "
            "data.patch as a multiple of the cell, or an encoder of a smaller stride"
        )
    return edges
