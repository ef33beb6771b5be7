"""PCRLv2: rebuild a damaged crop at every depth of a decoder, and know small views of it again.

Paper: Zhou et al., TPAMI 2023, "A Unified Visual Information Preservation Framework for
    Self-supervised Pre-training in Medical Image Analysis"; reference code: RL4M/PCRLv2, and the
    loss in nnssl.
Ours differs: every small view is compared (nnssl's port takes the first one of each place again and
again), and the weight of the coarse reconstructions falls over the run (the port leaves it out);
all depths count in every step, where one was drawn; batch norm is over both large views and all
ranks; small views lie in one of the large ones; nothing is mirrored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.encoders.convolution import CONV
from medssl.encoders.decoders import Pyramid
from medssl.errors import ConfigError
from medssl.losses.siamese import Embedded, siamese_distance
from medssl.methods.base import Method, Targets
from medssl.parts.gather import JointBatchNorm
from medssl.parts.heads import mlp
from medssl.parts.pictures import beside_each_other
from medssl.parts.view_sizes import local_edges
from medssl.sampling.pairs import Pairs
from medssl.sampling.places import Sampler
from medssl.transforms.compose import Compose
from medssl.transforms.corruption import InPaint, LocalShuffle
from medssl.transforms.crop import CropResize
from medssl.transforms.presets import gentle_geometry, gentle_intensity
from medssl.transforms.views import View, ViewRecipe
from medssl.types import Batch, Losses, Picture

__all__ = ["PCRLv2"]


class PCRLv2(Method):
    """Restoration at several depths, with siamese comparison of large and small views.

    It wants several places a step, for its batch norms tell them apart.

    Args:
        local_views: Small views of a place.
        local_size: Edges of a small view in voxels; by default half of the patch or what the
            encoder needs.
        local_share: Least and greatest share of a large view that a small one shows.
        overlap: Least intersection over union of the two large views.
        width: Channels of the decoder at full resolution.
        body_share: Least share of body in the large views.
        **shared: Encoder and patch, see :class:`Method`.

    Raises:
        ConfigError: If there is no small view.
    """

    name: ClassVar[str] = "pcrlv2"
    couples_samples: ClassVar[bool] = True

    def __init__(
        self,
        *,
        local_views: int = 6,
        local_size: tuple[int, ...] | None = None,
        local_share: tuple[float, float] = (0.05, 0.3),
        overlap: float = 0.3,
        width: int = 16,
        body_share: float = 0.5,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if local_views < 1:
            raise ConfigError(f"{local_views} small views were asked for; pcrlv2 needs 1 or more")
        self.local_views = local_views
        self.local_size = tuple(local_size or local_edges(self.patch, self.encoder.strides))
        self.local_share = local_share
        self.overlap = overlap
        self.body_share = body_share
        self.corruption = damage()
        dims, channels = self.encoder.spatial_dims, self.encoder.in_channels
        # without skips all that is rebuilt must pass the coarsest map
        self.decoder = Pyramid(self.encoder, width=width, skips=False, image=False)
        coarse = self.decoder.widths[1:] or self.decoder.widths
        self.restore = CONV[dims](self.decoder.widths[0], channels, 1)
        self.restore_coarse = nn.ModuleList(CONV[dims](each, channels, 1) for each in coarse)
        self.norms = nn.ModuleList(JointBatchNorm(each) for each in coarse)
        self.predictors = nn.ModuleList(mlp(each, 2 * each, each) for each in coarse)

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return the options of tests."""
        return {"local_views": 2, "width": 8}

    def places(self) -> Sampler:
        """Cut two crops that overlap."""
        return Pairs(iou=(self.overlap, 1.0), share=self.body_share)

    def views(self) -> ViewRecipe:
        """The first crop as it is to be rebuilt, the second with another look, and small views."""
        look, pose = gentle_intensity(), gentle_geometry()
        part = CropResize(scale=self.local_share, aspect=1.33, size=self.local_size)
        small = Compose((part, *look.transforms))
        second = Compose((*pose.transforms, *look.transforms))
        views = [View((0,), pose), View((1,), second)]
        return ViewRecipe((*views, *(View((n % 2,), small) for n in range(self.local_views))))

    def loss(
        self,
        views: Sequence[Tensor],
        targets: Targets,  # noqa: ARG002 the first view is the target
        generator: torch.Generator,
    ) -> Losses:
        """Return the errors of what was rebuilt, and how little views know each other."""
        whole, other, *small = views
        rebuilt, coarse, embedded = self.rebuild(self.corruption(whole, generator), other)
        first, second = _chunks(embedded, 2)
        self.last_embedding = F.normalize(embedded[-1][0].detach().float(), dim=1)
        terms = {
            "restoration": F.mse_loss(rebuilt.float(), whole),
            "coarse": torch.stack([F.mse_loss(each.float(), whole) for each in coarse]).mean(),
            "global": siamese_distance(first, second),
            "local": torch.stack(
                [
                    (siamese_distance(first, mine) + siamese_distance(second, mine)) / 2
                    for mine in _chunks(self._embed_small(torch.cat(small)), len(small))
                ]
            ).mean(),
        }
        total = terms["restoration"] + self.coarse_weight * terms["coarse"]
        return {"loss": total + terms["global"] + terms["local"], **terms}

    @property
    def coarse_weight(self) -> float:
        """Weight of what is rebuilt before full resolution: 1 at the start, 0 at the end."""
        return 0.5 * (1.0 + math.cos(math.pi * self.progress))

    def rebuild(
        self, damaged: Tensor, other: Tensor
    ) -> tuple[Tensor, list[Tensor], list[Embedded]]:
        """Rebuild a crop, and embed it together with another one.

        Args:
            damaged: ``(B, C, *patch)``.
            other: ``(B, C, *patch)``.

        Returns:
            The crop at full resolution, what coarser depths make of it, brought to its size, and
            the vectors of both crops at each of these depths, the damaged ones first.
        """
        features = self.decoder(self.encoder(torch.cat([damaged, other])), self.patch, None)
        depths = features[1:] or features
        mine = [depth[: len(damaged)] for depth in depths]
        mode = "trilinear" if damaged.ndim == 5 else "bilinear"
        coarse = [
            F.interpolate(restore(depth), self.patch, mode=mode)
            for restore, depth in zip(self.restore_coarse, mine, strict=True)
        ]
        return self.restore(features[0][: len(damaged)]), coarse, self._embed(depths)

    def _embed_small(self, small: Tensor) -> list[Embedded]:
        """Return the vectors of small views at each depth but full resolution."""
        features = self.decoder(self.encoder(small), self.local_size, None)
        return self._embed(features[1:] or features)

    def _embed(self, depths: Sequence[Tensor]) -> list[Embedded]:
        found = []
        for features, norm, predict in zip(depths, self.norms, self.predictors, strict=True):
            before = norm(features.flatten(2).mean(dim=2))
            found.append((before, predict(before)))
        return found

    def pictures(self, batch: Batch, generator: torch.Generator) -> list[Picture]:
        """Show the damaged crop and what was rebuilt of it."""
        whole, other, *_ = self.make_views(batch, generator)
        damaged = self.corruption(whole, generator)
        rebuilt, coarse, _ = self.rebuild(damaged, other)
        panels = (("input", whole), ("damaged", damaged), ("rebuilt", rebuilt))
        return beside_each_other(
            "Restoration",
            (*panels, ("rebuilt at half resolution", coarse[0])),
            "All that is rebuilt has passed the coarsest map.",
        )


def damage() -> Compose:
    """Return what is done to the crop that is rebuilt: shuffled blocks, noise in boxes, a look."""
    return Compose((LocalShuffle(p=0.5), InPaint(p=0.5), *gentle_intensity().transforms))


def _chunks(embedded: Sequence[Embedded], count: int) -> list[list[Embedded]]:
    """Part the vectors of several views, which stand one behind the other."""
    parts = [(a.chunk(count), b.chunk(count)) for a, b in embedded]
    return [[(a[n], b[n]) for a, b in parts] for n in range(count)]
