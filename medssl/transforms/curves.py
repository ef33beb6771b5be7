"""Other grey scales: curves from an image's own darkest voxel to its brightest.

A curve is drawn as a few points and looked up for all voxels in a table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from medssl.errors import ConfigError
from medssl.transforms.base import Params, Transform, per_voxel
from medssl.transforms.draws import uniform
from medssl.transforms.intensity import own_range

__all__ = ["Bezier", "HistogramShift", "look_up"]

ENTRIES = 1025
"""Of a table of a smooth curve; linear between them it is off by less than noise anywhere."""
HALVINGS = 24
"""Of the interval that holds a solution; float32 has no more digits."""


@dataclass(frozen=True, kw_only=True)
class HistogramShift(Transform):
    """Stretch some grey values and squeeze others, along a random broken line that never falls.

    The line runs through evenly spaced points; from one to the next it rises by a share that is
    drawn, so that darkest and brightest voxel keep their values and the order of all is kept.
    (MONAI's RandHistogramShift moves the points themselves, one after the other.)

    Attributes:
        slope: Largest factor by which the contrast between two points changes, before all are
            scaled to the image's range; at least 1.
        control_points: Points of the line, its two ends included.
    """

    slope: float = 3.0
    control_points: int = 8

    neutral: ClassVar[Mapping[str, float]] = {"slope": 1.0}

    def __post_init__(self) -> None:
        """Check slope and points.

        Raises:
            ConfigError: If there is nothing between the ends, or the factor is below 1.
        """
        super().__post_init__()
        if self.slope < 1.0:
            raise ConfigError(
                f"HistogramShift: slope was {self.slope}; give a factor of at least 1"
            )
        if self.control_points < 3:
            raise ConfigError(
                f"HistogramShift: control_points was {self.control_points}; a line that bends "
                "needs 3 or more"
            )

    def _draw(self, shape: torch.Size, generator: torch.Generator) -> Params:
        largest = math.log(self.slope)
        size = (shape[0], shape[1], self.control_points - 1)
        rises = uniform(size, -largest, largest, generator).exp()
        heights = rises.cumsum(dim=2) / rises.sum(dim=2, keepdim=True)
        return {"heights": torch.nn.functional.pad(heights, (1, 0))}

    def _apply(self, images: Tensor, params: Params) -> Tensor:
        lowest, width = own_range(images)
        unit = ((images - lowest) / width).clamp(min=0.0, max=1.0)
        return look_up(unit, params["heights"]) * width + lowest


@dataclass(frozen=True, kw_only=True)
class Bezier(Transform):
    """Bend the grey scale along a cubic Bezier curve, and turn some images into negatives.

    The non-linear transformation of Models Genesis (Zhou et al. 2019, arXiv:1908.06912). Ours takes
    each channel's own range, where the reference code needs values from 0 to 1, and solves the
    curve for the grey value, where that code interpolates between points that it has sorted.

    Attributes:
        bend: How far the two control points may lie from the straight line; 1 is anywhere in the
            square, 0 is none.
        invert_share: Share of the images that become negatives.
    """

    bend: float = 1.0
    invert_share: float = 0.5

    neutral: ClassVar[Mapping[str, float]] = {"bend": 0.0, "invert_share": 0.0}

    def _draw(self, shape: torch.Size, generator: torch.Generator) -> Params:
        size = (shape[0], shape[1])
        anywhere = uniform((*size, 2, 2), 0.0, 1.0, generator)
        straight = torch.tensor([1.0, 2.0], device=generator.device).view(2, 1) / 3.0
        # Within the square the curve has one height over each grey value; beyond it may not.
        control = (straight + self.bend * (anywhere - straight)).clamp(min=0.0, max=1.0)
        inverted = uniform(size, 0.0, 1.0, generator) < self.invert_share
        return {"control": control, "inverted": inverted}

    def _apply(self, images: Tensor, params: Params) -> Tensor:
        lowest, width = own_range(images)
        unit = ((images - lowest) / width).clamp(min=0.0, max=1.0)
        bent = look_up(unit, bezier_table(params["control"]))
        inverted = per_voxel(params["inverted"], images)
        return torch.where(inverted, 1.0 - bent, bent) * width + lowest


def bezier_table(control: Tensor) -> Tensor:
    """Return the heights ``(B, C, 1025)`` of Bezier curves over even steps from 0 to 1.

    Args:
        control: ``(B, C, 2, 2)``: the two inner points, each place and height within [0, 1].
    """
    wanted = torch.linspace(0.0, 1.0, ENTRIES, device=control.device)
    first, second = control[..., 0, :, None], control[..., 1, :, None]
    low = torch.zeros(*control.shape[:2], ENTRIES, device=control.device)
    high = torch.ones_like(low)
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        short = _bezier(first[..., 0, :], second[..., 0, :], middle) < wanted
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    heights = _bezier(first[..., 1, :], second[..., 1, :], (low + high) / 2.0)
    heights[..., 0], heights[..., -1] = 0.0, 1.0
    return heights


def _bezier(first: Tensor, second: Tensor, t: Tensor) -> Tensor:
    """Return one coordinate of a cubic Bezier curve from 0 to 1."""
    rest = 1.0 - t
    return 3.0 * rest * t * (rest * first + t * second) + t**3


def look_up(unit: Tensor, table: Tensor) -> Tensor:
    """Return where grey values from 0 to 1 go, linear between the entries of a table.

    Args:
        unit: ``(B, C, X, Y, Z)`` or ``(B, C, X, Y)``, from 0 to 1.
        table: ``(B, C, entries)``: heights over even steps.
    """
    heights = table.to(unit.device, non_blocking=True)
    last = table.shape[2] - 1
    place = unit.flatten(2) * last
    left = place.long().clamp_(max=last - 1)
    rises = heights.diff(dim=2)
    return (heights.gather(2, left) + (place - left) * rises.gather(2, left)).view_as(unit)
