"""iBOT: what DINO learns, and what a slow copy of oneself says of each place that was hidden.

Paper: Zhou et al. 2022, arXiv:2111.07832; reference code: bytedance/ibot.
Ours differs: hidden places hold a learned pattern of voxels, which for a transformer is its mask
token and lets convolutional encoders take part; the vector of an image is the mean of the coarsest
map; the centre of places is that of hidden places; no view is mirrored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from medssl.encoders.tokens import map_to_tokens, token_mask
from medssl.losses.distillation import masked_distillation, view_distillation
from medssl.methods.base import Targets
from medssl.methods.self_distilling import SelfDistillingMethod
from medssl.parts.blocks import PartialCells
from medssl.parts.mask_token import MaskToken
from medssl.parts.prototypes import Centre, PrototypeHead
from medssl.parts.teacher import Teacher
from medssl.parts.view_sizes import coarsest_cells
from medssl.types import Losses

__all__ = ["IBOT"]


class IBOT(SelfDistillingMethod):
    """Self-distillation over views and over hidden places, through one head.

    Args:
        prototypes: Entries of an answer.
        width: Hidden features of the head; an eighth of them are compared with prototypes.
        mask_ratio: Least and greatest share of an image that is hidden; half of them hide nothing.
        mask_size: Edge of a hidden cell in voxels, a multiple of the encoder's coarsest stride;
            none takes that stride.
        patch_weight: Of the loss at hidden places; that over views has 1.
        **shared: Views and teacher, see :class:`SelfDistillingMethod`; encoder and patch.

    Raises:
        ConfigError: If the cells do not fit the encoder and the patch.
    """

    name: ClassVar[str] = "ibot"
    couples_samples: ClassVar[bool] = True

    def __init__(
        self,
        *,
        prototypes: int = 8192,
        width: int = 2048,
        mask_ratio: tuple[float, float] = (0.1, 0.5),
        mask_size: int | None = None,
        patch_weight: float = 1.0,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.patch_weight = patch_weight
        size = coarsest_cells(self.patch, self.encoder.strides, mask_size)
        self.mask = PartialCells(ratio=(mask_ratio[0], mask_ratio[1]), size=size, blocks=True)
        self.mask_token = MaskToken(self.encoder)
        self.head = PrototypeHead(
            self.encoder.channels[-1], prototypes, hidden=width, bottleneck=max(1, width // 8)
        )
        self.teacher_head = Teacher(self.head)
        self.centre = Centre(prototypes)
        self.patch_centre = Centre(prototypes)

    def loss(
        self,
        views: Sequence[Tensor],
        targets: Targets,  # noqa: ARG002 views teach each other
        generator: torch.Generator,
    ) -> Losses:
        """Return the cross-entropy with the teacher over views and at hidden places."""
        large, small, count = torch.cat(list(views[:2])), list(views[2:]), len(views[0])
        cells = self.mask(large.shape, generator)
        features = self.encoder(self.mask_token(large, cells))[-1]
        hidden = token_mask(cells, tuple(features.shape[2:]))
        vectors = features.flatten(2).mean(dim=2)
        self.last_embedding = vectors.detach()
        if small:
            vectors = torch.cat([vectors, self.encoder.embed(torch.cat(small))])
        asked = torch.cat([vectors, map_to_tokens(features)[hidden]])
        scores = self.head(asked, frozen=self.is_frozen)
        scores, patch_scores = scores.split([len(vectors), len(asked) - len(vectors)])
        answers, patch_answers = self._answers(large, hidden)
        answers = answers.view(2, count, -1)
        view = view_distillation(scores.view(-1, count, scores.shape[1]), answers)
        place = masked_distillation(patch_scores, patch_answers, hidden)
        return {"loss": view + self.patch_weight * place, "view": view, "place": place}

    @torch.no_grad()
    def _answers(self, large: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the teacher says of the whole views, and of the places that were hidden."""
        features = self.teacher_encoder(large)[-1]
        vectors = features.flatten(2).mean(dim=2)
        scores = self.teacher_head(torch.cat([vectors, map_to_tokens(features)[hidden]]))
        count = len(vectors)
        return (
            self.centre(scores[:count], self.temperature),
            self.patch_centre(scores[count:], self.temperature),
        )

    def after_step(self, step: int) -> None:
        """Let teacher and centres follow."""
        self.follow(step, (self.head, self.teacher_head))
        self.centre.update()
        self.patch_centre.update()
