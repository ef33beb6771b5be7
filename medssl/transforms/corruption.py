"""Damage that a network is asked to repair: voxels that are overwritten or displaced.

What was damaged is known: ``transform.mask(shape, params)`` is true there. The boxes and blocks are
those of Models Genesis (Zhou et al. 2019, arXiv:1908.06912) unless a class says otherwise.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from medssl.errors import ConfigError
from medssl.transforms.base import Params, Transform
from medssl.transforms.draws import noise_like, partners, seeds, uniform
from medssl.transforms.intensity import own_range

__all__ = ["Boxes", "CutMix", "CutOut", "InPaint", "LocalShuffle", "OutPaint"]


@dataclass(frozen=True, kw_only=True)
class Boxes(Transform):
    """What transforms that overwrite boxes have in common.

    Attributes:
        count: Smallest and largest number of boxes; they may overlap.
        edge: Shortest and longest edge of a box, in edges of the image.
    """

    count: tuple[int, int] = (3, 5)
    edge: tuple[float, float] = (1 / 6, 1 / 3)

    neutral: ClassVar[Mapping[str, float]] = {"edge": 0.0}

    def __post_init__(self) -> None:
        """Check the boxes.

        Raises:
            ConfigError: If there can't be so many or if they do not fit the image.
        """
        super().__post_init__()
        name = type(self).__name__
        if not 1 <= self.count[0] <= self.count[1]:
            raise ConfigError(f"{name}: count was {self.count}; give 1 or more boxes, low first")
        if self.edge[0] < 0.0:
            raise ConfigError(
                f"{name}: edge was {self.edge}; edges are shares of the image's, from 0 to 1"
            )

    def _draw(self, shape: torch.Size, generator: torch.Generator) -> Params:
        low, high = self.count
        size = (shape[0], high, len(shape) - 2)
        sizes = torch.tensor(shape[2:], device=generator.device)
        edges = (uniform(size, *self.edge, generator) * sizes).round().clamp(max=sizes).long()
        free = uniform(size, 0.0, 1.0, generator) * (sizes - edges + 1)
        start = torch.minimum(free.long(), sizes - edges)
        wanted = (uniform(shape[0], low, high + 1, generator)).long().clamp(max=high)
        used = torch.arange(high, device=generator.device) < wanted[:, None]
        stop = torch.where(used.unsqueeze(2), start + edges, start)
        return {"start": start, "stop": stop, **self._draw_filling(shape, generator)}

    def _draw_filling(self, shape: torch.Size, generator: torch.Generator) -> Params:  # noqa: ARG002
        return {}

    def _apply(self, images: Tensor, params: Params) -> Tensor:
        hidden = self._mask(images.shape, params, images.device)
        return torch.where(hidden, self._filling(images, params), images)

    @abstractmethod
    def _filling(self, images: Tensor, params: Params) -> Tensor:
        """Return what is written, of the images' shape or to be spread over it."""

    def _mask(self, shape: torch.Size, params: Params, device: torch.device) -> Tensor:
        return inside_boxes(shape, params["start"], params["stop"], device)


@dataclass(frozen=True, kw_only=True)
class CutOut(Boxes):
    """Overwrite boxes with one value.

    Attributes:
        value: What is written: 0 is the middle of CT's window and the mean of MR.
    """

    value: float = 0.0

    def _filling(self, images: Tensor, params: Params) -> Tensor:  # noqa: ARG002
        return torch.full_like(images[:1, :1, :1], self.value)


@dataclass(frozen=True, kw_only=True)
class InPaint(Boxes):
    """Overwrite boxes with noise, each channel over its own range."""

    def _draw_filling(self, shape: torch.Size, generator: torch.Generator) -> Params:
        return {"seed": seeds(shape[0], generator)}

    def _filling(self, images: Tensor, params: Params) -> Tensor:
        lowest, width = own_range(images)
        return noise_like(images, params["seed"], "uniform").mul_(width).add_(lowest)


@dataclass(frozen=True, kw_only=True)
class OutPaint(InPaint):
    """Overwrite all but a few boxes with noise, each channel over its own range.

    Attributes:
        edge: Shortest and longest edge of a box that is kept, in edges of the image.
    """

    edge: tuple[float, float] = (3 / 7, 4 / 7)

    neutral: ClassVar[Mapping[str, float]] = {"edge": 1.0}

    def _mask(self, shape: torch.Size, params: Params, device: torch.device) -> Tensor:
        return ~super()._mask(shape, params, device)


@dataclass(frozen=True, kw_only=True)
class CutMix(Boxes):
    """Overwrite boxes with what another image of the batch shows there.

    The second corruption of SwinUNETR's pretraining (Tang et al. 2022, arXiv:2111.14791). An image
    that is alone in its batch keeps its own.
    """

    mixes_batch: ClassVar[bool] = True

    def _draw_filling(self, shape: torch.Size, generator: torch.Generator) -> Params:
        return {"partner": partners(shape[0], generator)}

    def _on_active(self, x: Tensor, params: Params, *, is_label: bool) -> Tensor:
        if len(params["partner"]) == len(x):
            others = x[params["partner"].to(x.device, non_blocking=True)]
            params = {**params, "others": others}
        return super()._on_active(x, params, is_label=is_label)

    def _filling(self, images: Tensor, params: Params) -> Tensor:
        return params["others"].to(images.dtype)


@dataclass(frozen=True, kw_only=True)
class LocalShuffle(Transform):
    """Put the voxels of small blocks into random order; what is far apart stays apart.

    Blocks tile the image, their edges drawn one by one, so that no voxel is lost or doubled (the
    reference code draws 10,000 windows that overwrite each other). Channels are moved together.

    Attributes:
        edge: Longest edge of a block, in edges of the image; the shortest is 1 voxel.
        share: Share of the blocks that are shuffled; 10,000 windows cover about so much.
    """

    edge: float = 0.1
    share: float = 0.85

    neutral: ClassVar[Mapping[str, float]] = {"edge": 0.0, "share": 0.0}

    def _draw(self, shape: torch.Size, generator: torch.Generator) -> Params:
        params: Params = {"seed": seeds(shape[0], generator)}
        counts = []
        for axis, size in enumerate(shape[2:]):
            longest = min(size, max(1, round(self.edge * size)))
            edges = uniform((shape[0], size), 1.0, longest + 1.0, generator).long()
            ends = edges.clamp(max=longest).cumsum(dim=1)
            place = torch.arange(size, device=generator.device).expand(shape[0], -1).contiguous()
            params[f"block.{axis}"] = torch.searchsorted(ends, place, right=True)
            counts.append(int(params[f"block.{axis}"].max()) + 1)
        params["chosen"] = uniform((shape[0], *counts), 0.0, 1.0, generator) < self.share
        return params

    def _apply(self, images: Tensor, params: Params) -> Tensor:
        rank, block, chosen = self._ranks(images.shape, params, images.device)
        random = noise_like(rank, params["seed"], "integer")
        # Sorted by block and, within one, at random: what stands at a voxel's rank comes to it.
        shuffled = ((block << 31) + random).argsort(dim=1).gather(1, rank)
        source = torch.where(chosen, shuffled, torch.arange(rank.shape[1], device=rank.device))
        flat = images.flatten(2)
        return flat.gather(2, source.unsqueeze(1).expand_as(flat)).view_as(images)

    def _ranks(
        self, shape: torch.Size, params: Params, device: torch.device
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return each voxel's place when voxels are sorted by block, its block, whether that moves.

        All ``(B, voxels)``. Blocks are a grid, so a place is counted and not sorted for: all blocks
        before the voxel's own, then what lies before it within.
        """
        dims = len(shape) - 2
        chosen = params["chosen"].to(device, non_blocking=True)
        before = torch.zeros(shape[0], *[1] * dims, dtype=torch.long, device=device)
        within, block, area = before, before, torch.ones_like(before)
        voxels = blocks = 1  # behind one step of the axis
        for axis in reversed(range(dims)):
            number = params[f"block.{axis}"].to(device, non_blocking=True)
            size = shape[axis + 2]
            line = [shape[0], *[1] * dims]
            line[axis + 1] = size
            start = torch.searchsorted(number, number)
            length = (torch.searchsorted(number, number, right=True) - start).view(line)
            step = torch.arange(size, device=device).view(line[1:]) - start.view(line)
            # Blocks before along this axis hold all voxels behind; later axes count in this slab.
            before = start.view(line) * voxels + length * before
            within = within + step * area
            area = area * length
            block = block + number.view(line) * blocks
            voxels *= size
            blocks *= chosen.shape[axis + 1]
        block = block.flatten(1)
        return (before + within).flatten(1), block, chosen.flatten(1).gather(1, block)

    def _mask(self, shape: torch.Size, params: Params, device: torch.device) -> Tensor:
        _, _, chosen = self._ranks(shape, params, device)
        return chosen.view(shape[0], 1, *shape[2:])


def inside_boxes(shape: torch.Size, start: Tensor, stop: Tensor, device: torch.device) -> Tensor:
    """Return which voxels lie in at least one box, ``(B, 1, X, Y, Z)``.

    Args:
        shape: Shape of the images.
        start: First voxel of each box, ``(B, boxes, d)``.
        stop: One past the last.
        device: Where the mask is wanted.
    """
    start, stop = start.to(device, non_blocking=True), stop.to(device, non_blocking=True)
    lines = []
    for axis, size in enumerate(shape[2:]):
        place = torch.arange(size, device=device)
        line = (place >= start[:, :, axis, None]) & (place < stop[:, :, axis, None])
        lines.append(line.float())
    *before, last = lines
    planes = before[0]
    for line in before[1:]:
        planes = (planes.unsqueeze(3) * line.unsqueeze(2)).flatten(2)
    # One product of matrices counts the boxes over each voxel, however many there are.
    return (planes.mT @ last).view(shape[0], 1, *shape[2:]) > 0.0
