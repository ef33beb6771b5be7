"""SimCLR: the same anatomy seen twice is nearer than any other.

Paper: Chen et al. 2020, arXiv:2002.05709; in 3D: nnssl's ``SimCLRTrainer``; place by place: Wang et
al. 2021, arXiv:2011.09157 (DenseCL).
Ours differs: negatives are those of all ranks (nnssl compares the few of one GPU); crops of one
patient that overlap are no negatives of each other (nnssl's are); nothing is mirrored or turned;
the head has layer norm, so that no sample sees another but in the loss; in the dense term places
are matched by where they were read, not by their features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from medssl.errors import ConfigError
from medssl.losses.contrast import dense_contrast, nt_xent, unit
from medssl.methods.base import Targets
from medssl.methods.two_views import TwoViewMethod
from medssl.parts.gather import gather
from medssl.parts.heads import mlp
from medssl.parts.points import MatchedPoints, frame_of_pairs, matched_points
from medssl.parts.two_views import overlapping_rows
from medssl.transforms.frames import compose_frames, relation
from medssl.types import Losses

__all__ = ["SimCLR"]


class SimCLR(TwoViewMethod):
    """Contrast of two views, and of their places if asked for.

    Args:
        temperature: What cosines are divided by; nnssl takes 0.5.
        width: Hidden features of the projection head.
        out: Length of the embedding that is compared.
        dense_weight: Weight of the contrast of places; 0 is off.
        dense_points: Places of each pair of views that are compared.
        dense_level: Which map of the encoder, the finest being 0; negative numbers count from the
            coarsest.
        **shared: Views, see :class:`TwoViewMethod`; encoder and patch.

    Raises:
        ConfigError: If the encoder has no such map.
    """

    name: ClassVar[str] = "simclr"
    couples_samples: ClassVar[bool] = True
    wants_frames: ClassVar[bool] = True

    def __init__(
        self,
        *,
        temperature: float = 0.2,
        width: int = 1024,
        out: int = 128,
        dense_weight: float = 0.0,
        dense_points: int = 32,
        dense_level: int = -2,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.temperature = temperature
        channels = self.encoder.channels
        self.head = mlp(channels[-1], width, out, norm="layer")
        if not -len(channels) <= dense_level < len(channels):
            raise ConfigError(
                f'dense_level was {dense_level} and encoder "{self.encoder.name}" has '
                f"{len(channels)} maps; name one of them"
            )
        self.dense_weight = dense_weight
        self.dense_points = dense_points
        self.dense_level = dense_level
        self.dense_head: nn.Module | None = None
        if dense_weight:
            self.dense_head = mlp(channels[dense_level], width, out, norm="layer")

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return the options of tests."""
        return {"crops": 2, "width": 32, "out": 16, "dense_points": 4}

    def loss(self, views: Sequence[Tensor], targets: Targets, generator: torch.Generator) -> Losses:
        """Return the contrast of crops and of places."""
        maps = self.encoder(torch.cat(list(views)))
        first, second = self.head(maps[-1].flatten(2).mean(dim=2)).chunk(2)
        self.last_embedding = unit(first).detach()
        same = overlapping_rows(targets, len(first))
        joint = nt_xent(gather(first), gather(second), temperature=self.temperature, same=same)
        if self.dense_head is None:
            return {"loss": joint}
        points = self._points(maps[self.dense_level], targets, generator, self.dense_head)
        dense = dense_contrast(points, same, temperature=self.temperature)
        return {"loss": joint + self.dense_weight * dense, "crops": joint, "places": dense}

    def _points(
        self, maps: Tensor, targets: Targets, generator: torch.Generator, head: nn.Module
    ) -> MatchedPoints:
        """Return the embeddings of places that both views show, those of all ranks."""
        first, second = maps.chunk(2)
        first_frame, second_frame = targets["frames"]
        if "relative_position" in targets:
            # the views are of two crops: say both in places of the first
            second_frame = compose_frames(frame_of_pairs(targets, second.ndim - 2), second_frame)
        related = relation(first_frame, second_frame)
        return matched_points(first, second, related, self.dense_points, generator).embedded(head)
