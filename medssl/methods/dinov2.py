"""DINOv2 in 3D: DINO over views and iBOT over hidden places with heads of their own, and KoLeo.

Papers: Oquab et al. 2024, arXiv:2304.07193; 3DINO, Xu et al. 2025 (npj Digital Medicine), whose
recipe for volumes this is: Sinkhorn's balance for the teacher's answers, half of the large views
masked, 20 to 75 % of their tokens, each token by itself.
Ours differs: hidden places hold a learned pattern of voxels, which for a transformer is its mask
token and lets convolutional encoders take part; the vector of an image is the mean of the coarsest
map; balance and KoLeo see all ranks; nothing is mirrored or turned, because left is not right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from medssl.encoders.tokens import map_to_tokens, token_mask
from medssl.losses.assignment import sinkhorn
from medssl.losses.distillation import koleo, masked_distillation, view_distillation
from medssl.methods.base import Targets
from medssl.methods.self_distilling import SelfDistillingMethod
from medssl.parts.blocks import PartialCells
from medssl.parts.gather import gather
from medssl.parts.mask_token import MaskToken
from medssl.parts.prototypes import PrototypeHead
from medssl.parts.teacher import Teacher
from medssl.parts.view_sizes import coarsest_cells
from medssl.types import Losses

__all__ = ["DINOv2"]


class DINOv2(SelfDistillingMethod):
    """Self-distillation over views and hidden places that spreads features over the sphere.

    Args:
        prototypes: Entries of an answer; each head has so many.
        width: Hidden features of a head; an eighth of them are compared with prototypes.
        momentum: Of the teacher at the start; it ends at 1.
        mask_ratio: Least and greatest share of an image that is hidden; half of them hide nothing.
        mask_size: Edge of a hidden cell in voxels, a multiple of the encoder's coarsest stride;
            none takes that stride.
        koleo_weight: Of the term that spreads features.
        **shared: Views and teacher, see :class:`SelfDistillingMethod`; encoder and patch.

    Raises:
        ConfigError: If the cells do not fit the encoder and the patch.
    """

    name: ClassVar[str] = "dinov2"
    couples_samples: ClassVar[bool] = True

    def __init__(
        self,
        *,
        prototypes: int = 65536,
        width: int = 2048,
        momentum: float = 0.992,
        mask_ratio: tuple[float, float] = (0.2, 0.75),
        mask_size: int | None = None,
        koleo_weight: float = 0.1,
        **shared: Any,
    ) -> None:
        super().__init__(momentum=momentum, **shared)
        self.koleo_weight = koleo_weight
        size = coarsest_cells(self.patch, self.encoder.strides, mask_size)
        self.mask = PartialCells(ratio=(mask_ratio[0], mask_ratio[1]), size=size)
        self.mask_token = MaskToken(self.encoder)
        features, bottleneck = self.encoder.channels[-1], max(1, width // 8)
        self.head = PrototypeHead(features, prototypes, hidden=width, bottleneck=bottleneck)
        self.patch_head = PrototypeHead(features, prototypes, hidden=width, bottleneck=bottleneck)
        self.teacher_head = Teacher(self.head)
        self.teacher_patch_head = Teacher(self.patch_head)

    def loss(
        self,
        views: Sequence[Tensor],
        targets: Targets,  # noqa: ARG002 views teach each other
        generator: torch.Generator,
    ) -> Losses:
        """Return the cross-entropy with the teacher over views and hidden places, and KoLeo."""
        large, small, count = torch.cat(list(views[:2])), list(views[2:]), len(views[0])
        cells = self.mask(large.shape, generator)
        features = self.encoder(self.mask_token(large, cells))[-1]
        hidden = token_mask(cells, tuple(features.shape[2:]))
        vectors = features.flatten(2).mean(dim=2)
        self.last_embedding = vectors.detach()
        # each view by itself: two views of one crop are meant to be near each other
        spread = torch.stack([koleo(gather(view)) for view in vectors.view(2, count, -1)]).sum()
        if small:
            vectors = torch.cat([vectors, self.encoder.embed(torch.cat(small))])
        frozen = self.is_frozen
        scores = self.head(vectors, frozen=frozen)
        patch_scores = self.patch_head(map_to_tokens(features)[hidden], frozen=frozen)
        answers, patch_answers = self._answers(large, hidden)
        terms = {
            "view": view_distillation(
                scores.view(-1, count, scores.shape[1]), answers.view(2, count, -1)
            ),
            "place": masked_distillation(patch_scores, patch_answers, hidden),
            "koleo": spread,
        }
        total = terms["view"] + terms["place"] + self.koleo_weight * terms["koleo"]
        return {"loss": total, **terms}

    @torch.no_grad()
    def _answers(self, large: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the teacher says of the whole views, and of the places that were hidden."""
        features = self.teacher_encoder(large)[-1]
        scores = self.teacher_head(features.flatten(2).mean(dim=2))
        patch_scores = self.teacher_patch_head(map_to_tokens(features)[hidden])
        epsilon = self.temperature
        return sinkhorn(scores, epsilon=epsilon), sinkhorn(patch_scores, epsilon=epsilon)

    def after_step(self, step: int) -> None:
        """Let the teacher follow."""
        self.follow(
            step, (self.head, self.teacher_head), (self.patch_head, self.teacher_patch_head)
        )
