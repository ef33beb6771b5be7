"""Places that two views both show, for losses that compare features place by place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from medssl.parts.gather import gather
from medssl.transforms.frames import align

__all__ = ["MatchedPoints", "frame_of_pairs", "matched_points"]


@dataclass(frozen=True)
class MatchedPoints:
    """Places of the second view of each crop, and the features of both views there.

    Attributes:
        first: ``(n, P, C)`` features of the first view, where it shows the same anatomy.
        second: ``(n, P, C)`` features of the second view.
        seen: ``(n, P)`` boolean, whether the first view shows the place at all.
        where: ``(n, P, d)`` the place, in cells of the second view's map.
    """

    first: Tensor
    second: Tensor
    seen: Tensor
    where: Tensor

    def embedded(self, head: nn.Module) -> MatchedPoints:
        """Return the places of all ranks, with what a head makes of their features.

        Args:
            head: From ``(m, C)`` to ``(m, D)``.
        """
        count = self.first.shape[1]
        first, second = (
            gather(head(each.flatten(0, 1)).unflatten(0, (-1, count)))
            for each in (self.first, self.second)
        )
        return MatchedPoints(first, second, gather(self.seen.float()) > 0, gather(self.where))


def matched_points(
    first: Tensor, second: Tensor, related: Tensor, count: int, generator: torch.Generator
) -> MatchedPoints:
    """Choose places of the second view at random, those that the first shows before others.

    Args:
        first: ``(n, C, x, y, z)`` map of the first view.
        second: ``(n, C, x, y, z)`` map of the second view.
        related: ``(n, d, d + 1)`` from where in the first view places of the second are read, see
            :func:`~medssl.transforms.frames.relation`.
        count: How many places of each crop; at most all cells.
        generator: Where chance comes from, on the device of the maps.
    """
    size = second.shape[2:]
    with torch.autocast(first.device.type, enabled=False):
        aligned, seen = align(first.float(), related, size)
    shown = seen.flatten(1)
    chance = torch.rand(shown.shape, generator=generator, device=shown.device) + shown
    chosen = chance.topk(min(count, shown.shape[1]), dim=1).indices

    def at_chosen(maps: Tensor) -> Tensor:
        return maps.flatten(2).mT.take_along_dim(chosen.unsqueeze(2), dim=1)

    axes = [torch.arange(edge, device=chosen.device) for edge in size]
    cells = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, -2)
    return MatchedPoints(
        at_chosen(aligned), at_chosen(second), shown.gather(1, chosen), cells[chosen].float()
    )


def frame_of_pairs(targets: Mapping[str, Any], dims: int) -> Tensor:
    """Return where the second crop of each pair lies in the first, as a frame of it.

    Args:
        targets: Of :class:`~medssl.sampling.pairs.Pairs`.
        dims: Axes of a crop; slices of a volume have one fewer than it.

    Returns:
        ``(B, d, d + 1)``, see :mod:`medssl.transforms.frames`.
    """
    size: Tensor = targets["relative_size"][:, :dims]
    # places run from -1 to 1, so that an edge is 2 long
    middle: Tensor = 2.0 * targets["relative_position"][:, :dims]
    return torch.cat([torch.diag_embed(size), middle.unsqueeze(2)], dim=2)
