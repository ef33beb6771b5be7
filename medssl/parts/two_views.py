"""Where two views of the same anatomy come from: what joint-embedding methods compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from medssl.errors import ConfigError
from medssl.parts.gather import gather, world_size
from medssl.sampling.body import Body
from medssl.sampling.overlaps import Overlaps
from medssl.sampling.pairs import Pairs
from medssl.sampling.places import Sampler
from medssl.transforms.compose import Compose
from medssl.transforms.crop import CropResize
from medssl.transforms.presets import strong_intensity
from medssl.transforms.views import View, ViewRecipe

__all__ = ["Modality", "TwoViews", "overlapping_rows"]

Modality = Literal["ct", "mr", "other"]

SPREAD = 1.0
"""Crops of one place lie up to an edge from the first. Nearly all overlap that one; of two others,
six of ten share no voxel and are the other anatomy of the same patient that a loss is to tell
apart. Farther ones would make the region that is read much larger than what is used of it."""

BODY_SHARE = 0.5

SHARE_SHOWN = (0.4, 1.0)
"""Least and greatest share of a crop that a view of it shows."""

LOCAL_SHARE = (0.1, 0.4)
"""The same of a small view."""


@dataclass(frozen=True)
class TwoViews:
    """Two looks at each of several crops of a place, or at two crops that overlap.

    Neither mirrors nor turns anything.

    Attributes:
        crops: Crops of a place, of each of which every view shows another part, brought to the size
            of the patch; not used with an overlap.
        overlap: Least and greatest intersection over union of two crops of a place, of which each
            view shows one as it was cut; None takes views of the same crop.
        strength: Of the changes of intensity.
        modality: Whose intensities they are, see
            :func:`~medssl.transforms.presets.strong_intensity`.

    Raises:
        ConfigError: If there is no crop.
    """

    crops: int = 4
    overlap: tuple[float, float] | None = None
    strength: float = 1.0
    modality: Modality = "other"

    def __post_init__(self) -> None:
        """Check the number of crops."""
        if self.crops < 1:
            raise ConfigError(f"{self.crops} crops of a place were asked for; use 1 or more")

    def places(self) -> Sampler:
        """Return the sampler that cuts the crops."""
        if self.overlap is not None:
            return Pairs(iou=self.overlap, share=BODY_SHARE)
        return Overlaps(Body(crops=self.crops, share=BODY_SHARE, spread=SPREAD))

    def recipe(
        self, views: int = 2, *, local_views: int = 0, local_size: tuple[int, ...] = ()
    ) -> ViewRecipe:
        """Return the recipe of two views; of the same crop there can be more, and small ones.

        Args:
            views: How many large ones.
            local_views: How many small ones.
            local_size: Voxels along each axis of a small one.

        Raises:
            ConfigError: If more than two are asked of two crops.
        """
        look = strong_intensity(self.strength, modality=self.modality)
        if self.overlap is None:
            large = CropResize(scale=SHARE_SHOWN, aspect=1.11)
            recipe = [View(transform=Compose((large, *look.transforms)))] * views
            if local_views:
                small = CropResize(scale=LOCAL_SHARE, aspect=1.11, size=local_size)
                recipe += [View(transform=Compose((small, *look.transforms)))] * local_views
            return ViewRecipe(tuple(recipe))
        if views != 2 or local_views:
            raise ConfigError(
                f"{views} views and {local_views} small ones were asked of two crops that overlap; "
                "leave out `overlap`, so that all are views of one crop"
            )
        return ViewRecipe.groups((range(1), look), (range(1, 2), look))


def overlapping_rows(targets: Mapping[str, Any], rows: int) -> Tensor:
    """Return which rows of a view show anatomy in common, those of all ranks.

    They are no negatives of each other. Rows of different places are taken for strangers.

    Args:
        targets: Of the sampler; ``overlap`` ``(B, K, K)`` if a place has several rows.
        rows: Rows of a view on this rank, ``B * K``.

    Returns:
        ``(ranks * rows, ranks * rows)`` boolean, True on the diagonal.
    """
    if "overlap" not in targets:
        return torch.eye(rows * world_size(), dtype=torch.bool)
    shared = gather(targets["overlap"].float()) > 0
    places, crops = shared.shape[:2]
    own = torch.eye(places, dtype=torch.bool, device=shared.device)
    blocks = own[:, None, :, None] & shared[:, :, None, :]
    known = blocks.reshape(places * crops, places * crops)
    return known.fill_diagonal_(True)
