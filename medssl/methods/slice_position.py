"""Slice position: slices at the same level of two bodies look alike, at other levels they do not.

Paper: Chaitanya et al. 2020, "Contrastive learning of global and local features for medical image
segmentation with limited annotations", arXiv:2006.10511. Reference:
krishnabits001/domain_specific_cl.
Ours differs: any number of levels of the body's own box and of volumes take part (the reference
counts on four slices a volume); global and local loss are summed in one run that trains the encoder
(there, the local one trains decoder blocks in a second run), so regions are of its maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.errors import ConfigError
from medssl.losses.slices import nearest_regions, pair_contrast, region_contrast, slice_pairs
from medssl.methods.base import Method, Targets
from medssl.parts.gather import gather, world_size
from medssl.parts.heads import mlp
from medssl.parts.pictures import crop_row, likeness_matrix
from medssl.sampling.places import Sampler
from medssl.sampling.slices import SlicePosition as SlicesOfLevels
from medssl.sampling.slices import Slices
from medssl.transforms.compose import Compose
from medssl.transforms.crop import CropResize
from medssl.transforms.presets import gentle_intensity
from medssl.transforms.views import View, ViewRecipe
from medssl.types import Batch, Losses, Picture

__all__ = ["SlicePosition"]


class SlicePosition(Method):
    """Contrast of slices by their level in the body, for planar encoders on volumes.

    A place is one slice of each level of one volume, in three versions: as it is, cropped with
    other intensities, and once more so; with a local loss the third is not cropped, so that its
    regions lie where those of the first do.

    Args:
        global_loss: ``random`` pushes all other slices away (G^R); ``apart`` spares those at the
            same level (G^D-); ``matched`` also draws together those at the same level of different
            volumes (G^D); ``none`` leaves slices as wholes alone.
        local_loss: ``random`` tells a region of a slice from those around it (L^R); ``matched``
            also draws together the same region of different volumes (L^D), which presumes crops
            that show the whole slice; ``none`` leaves regions alone.
        partitions: Levels that a body is cut into.
        temperature: Of the contrast.
        regions: Regions compared in each slice, as far as its map has so many.
        region: Edge of a region in elements of the map.
        neighbours: Regions nearby that are the negatives of each, in both versions.
        local_level: Map that regions are taken from, counted from the finest; negative numbers
            count from the coarsest.
        axis: The axis across the slices, see :class:`~medssl.sampling.slices.Slices`.
        pixel_mm: Size of a pixel; none keeps voxels.
        width: Features of the heads.
        **shared: Encoder and patch, see :class:`Method`.

    Raises:
        ConfigError: If the encoder takes volumes, or nothing is compared, or the map holds fewer
            than two regions.
    """

    name: ClassVar[str] = "slice_position"
    couples_samples: ClassVar[bool] = True

    def __init__(
        self,
        *,
        global_loss: Literal["none", "random", "apart", "matched"] = "matched",
        local_loss: Literal["none", "random", "matched"] = "random",
        partitions: int = 4,
        temperature: float = 0.1,
        regions: int = 13,
        region: int = 3,
        neighbours: int = 5,
        local_level: int = -2,
        axis: int = 2,
        pixel_mm: float | None = None,
        width: int = 128,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if self.encoder.spatial_dims != 2 or global_loss == local_loss == "none":
            raise ConfigError(
                f"slice_position compares slices; the images have {self.encoder.spatial_dims} axes,"
                f" the losses are {global_loss} and {local_loss}; give data.patch two numbers, and "
                "choose at least one loss"
            )
        self.global_loss, self.local_loss = global_loss, local_loss
        self.sampler = Slices(
            SlicesOfLevels(partitions=partitions, every=True),
            axis=axis,
            channels=self.encoder.in_channels,
            pixel_mm=pixel_mm,
        )
        self.temperature, self.region = temperature, region
        self.regions, self.neighbours, self.local_level = regions, neighbours, local_level
        if global_loss != "none":
            self.head = mlp(self.encoder.channels[-1], width, width, norm="layer")
        if local_loss != "none":
            self._check_regions()
            channels = self.encoder.channels[local_level]
            self.local_head = nn.Sequential(
                nn.Conv2d(channels, width, 1), nn.ReLU(inplace=True), nn.Conv2d(width, width, 1)
            )

    def _check_regions(self) -> None:
        strides = self.encoder.strides[self.local_level]
        grid = [n // s // self.region for n, s in zip(self.patch, strides, strict=True)]
        if min(grid) < 1 or max(grid) < 2:
            raise ConfigError(
                f"a patch of {self.patch} at stride {strides} holds {grid} regions of {self.region}"
                ' an edge; use a larger patch, another local_level, or local_loss "none"'
            )

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return the options of tests."""
        return {"width": 16, "region": 2, "partitions": 3}

    def places(self) -> Sampler:
        """Take one slice of each level."""
        return self.sampler

    def views(self) -> ViewRecipe:
        """Each slice as it is and twice changed; nothing is mirrored or turned."""
        cropped = Compose((CropResize(scale=(0.3, 1.0)), *gentle_intensity().transforms))
        third = cropped if self.local_loss == "none" else gentle_intensity()
        return ViewRecipe((View(), View(transform=cropped), View(transform=third)))

    def loss(self, views: Sequence[Tensor], targets: Targets, generator: torch.Generator) -> Losses:
        """Return the contrast of slices and that of their regions."""
        # a local loss alone has no use for the cropped version
        used = list(views) if self.global_loss != "none" else [views[0], views[2]]
        maps = self.encoder(torch.cat(used))
        place = torch.arange(world_size() * len(targets["partition"]), device=used[0].device)
        place = place.repeat_interleave(targets["partition"].shape[1])
        level = gather(targets["partition"].flatten())
        terms: Losses = {}
        if self.global_loss != "none":
            vectors = self.head(maps[-1].flatten(2).mean(dim=2))
            self.last_embedding = vectors.detach()
            vectors = gather(vectors.view(len(used), -1, vectors.shape[1]).transpose(0, 1))
            pairs = slice_pairs(place, level, len(used), kind=self.global_loss)
            vectors = vectors.flatten(0, 1)
            terms["global"] = pair_contrast(vectors, *pairs, temperature=self.temperature)
        if self.local_loss != "none":
            alike = (level[:, None] == level) & (place[:, None] != place)
            terms["local"] = self._local(maps[self.local_level], len(used), alike, generator)
        return {"loss": torch.stack(list(terms.values())).sum(), **terms}

    def _local(
        self, features: Tensor, versions: int, alike: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return the contrast of regions of the first and the last version."""
        parts = features.view(versions, -1, *features.shape[1:])
        pair = self.local_head(torch.cat([parts[0], parts[-1]]))
        grid = [edge // self.region for edge in pair.shape[2:]]
        cut = F.unfold(pair, self.region, stride=self.region)
        count = cut.shape[2]
        chosen = torch.randperm(count, generator=generator, device=generator.device)
        chosen = gather(chosen[None])[0, : self.regions].to(cut.device)  # alike on all ranks
        cut = cut[:, :, chosen].view(2, -1, cut.shape[1], len(chosen)).permute(1, 3, 0, 2)
        where = torch.stack([chosen // grid[1], chosen % grid[1]], dim=1)
        return region_contrast(
            gather(cut.contiguous()),
            nearest_regions(where, self.neighbours),
            alike if self.local_loss == "matched" else None,
            temperature=self.temperature,
        )

    def pictures(self, batch: Batch, generator: torch.Generator) -> list[Picture]:
        """Show the slices of one body, and how alike they are to those of another."""
        if self.global_loss == "none" or len(batch.images) < 2:
            return []
        images = self.make_views(batch, generator)[0]
        vectors = F.normalize(self.head(self.encoder.embed(images)).float(), dim=1)
        one, two = vectors.view(len(batch.images), -1, vectors.shape[1])[:2]
        levels = batch.targets["partition"][:2]
        found = levels[1][(one @ two.mT).argmax(dim=1).cpu()] == levels[0]
        return [
            crop_row(
                "One slice of each level",
                "level",
                images[: len(one)],
                "Of one body, from its lower end upwards along the axis of the slices.",
            ),
            likeness_matrix(
                "Likeness of the slices of two bodies",
                one @ two.mT,
                f"{int(found.sum())} of {len(found)} slices are most like the one at their own "
                f"level of the other body; by chance 1 in {len(found)}.",
            ),
        ]
