"""Does a masked method know more of hidden anatomy than interpolation does?

Both fill the same holes of volumes that the method has not seen, and are judged by the same ratio.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy.ndimage
import torch
from torch import Tensor

from medssl.parts.infilling import fill_linear, fill_smooth, psnr
from medssl.types import FloatArray

__all__ = ["Infilling", "Rebuilds", "compare_with_infilling", "fill_nearest"]


class Rebuilds(Protocol):
    """A method that hides a part of a volume and rebuilds it."""

    def rebuild(self, volume: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return the answer, what it should be, and which voxels were hidden."""


@dataclass(frozen=True)
class Infilling:
    """Peak signal-to-noise ratio over hidden voxels, in dB, one number a crop.

    Attributes:
        rebuilt: Of the method.
        nearest: Of taking the nearest visible voxel.
        linear: Of linear interpolation along the axes.
        smooth: Of the surface that is at each hidden voxel the mean of its neighbours.
    """

    rebuilt: FloatArray
    nearest: FloatArray
    linear: FloatArray
    smooth: FloatArray

    @property
    def gain(self) -> FloatArray:
        """By how much the method is better than the best interpolation of each crop, in dB."""
        best: FloatArray = np.max([self.nearest, self.linear, self.smooth], axis=0)
        gain: FloatArray = self.rebuilt - best
        return gain


@torch.no_grad()
def compare_with_infilling(
    method: Rebuilds, volumes: Iterable[Tensor], generator: torch.Generator
) -> Infilling:
    """Let a method and interpolation fill the same holes.

    Args:
        method: One in evaluation mode.
        volumes: Batches ``(B, C, *patch)`` of volumes that were not trained on.
        generator: Source of the masks, on the device of the volumes.

    Raises:
        ValueError: If there is no volume.
    """
    rows: list[Tensor] = []
    for volume in volumes:
        rebuilt, target, hidden = method.rebuild(volume, generator)
        fillings = (fill_nearest, fill_linear, fill_smooth)
        answers = [rebuilt, *(fill(target, hidden) for fill in fillings)]
        rows.append(torch.stack([psnr(answer, target, hidden) for answer in answers]).cpu())
    if not rows:
        raise ValueError("there is no volume to fill; give at least one batch")
    figures = torch.cat(rows, dim=1).numpy()
    return Infilling(*figures)


def fill_nearest(image: Tensor, hidden: Tensor) -> Tensor:
    """Fill hidden voxels with the nearest visible one.

    Args:
        image: ``(B, C, X, Y, Z)`` or ``(B, C, X, Y)``; hidden voxels are not looked at.
        hidden: Boolean ``(B, 1, …)``, True where hidden; some of each image must be visible.

    Returns:
        Float32, of the shape of ``image``, on its device.
    """
    filled = []
    for one, mask in zip(image.float().cpu(), hidden[:, 0].cpu().numpy(), strict=True):
        nearest = scipy.ndimage.distance_transform_edt(
            mask, return_distances=False, return_indices=True
        )
        filled.append(one[(slice(None), *torch.from_numpy(nearest).long())])
    return torch.stack(filled).to(image.device)
