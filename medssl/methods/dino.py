"""DINO: say of a part of a volume what a slow copy of oneself says of another part of it.

Paper: Caron et al. 2021, arXiv:2104.14294; reference code: facebookresearch/dino; views of volumes
as in 3DINO (Xu et al. 2025).
Ours differs: the vector of an image is the mean of the coarsest map, so that any encoder takes
part; no view is mirrored; several crops of a place may take part, since few volumes fit in a batch;
the centre is moved after the step, by the raw scores of all ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from medssl.losses.distillation import view_distillation
from medssl.methods.base import Targets
from medssl.methods.self_distilling import SelfDistillingMethod
from medssl.parts.prototypes import Centre, PrototypeHead
from medssl.parts.teacher import Teacher
from medssl.types import Losses

__all__ = ["DINO"]


class DINO(SelfDistillingMethod):
    """Self-distillation over views, without labels.

    Args:
        prototypes: Entries of an answer; 65536 in the paper, fewer for few volumes.
        width: Hidden features of the head; an eighth of them are compared with prototypes.
        centre_momentum: Of the running mean of the teacher's scores.
        **shared: Views and teacher, see :class:`SelfDistillingMethod`; encoder and patch.
    """

    name: ClassVar[str] = "dino"
    couples_samples: ClassVar[bool] = True

    def __init__(
        self,
        *,
        prototypes: int = 65536,
        width: int = 2048,
        centre_momentum: float = 0.9,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.head = PrototypeHead(
            self.encoder.channels[-1], prototypes, hidden=width, bottleneck=max(1, width // 8)
        )
        self.teacher_head = Teacher(self.head)
        self.centre = Centre(prototypes, momentum=centre_momentum)

    def loss(
        self,
        views: Sequence[Tensor],
        targets: Targets,  # noqa: ARG002 views teach each other
        generator: torch.Generator,  # noqa: ARG002 nothing is drawn
    ) -> Losses:
        """Return the cross-entropy between teacher and student over pairs of different views."""
        large, small = torch.cat(list(views[:2])), list(views[2:])
        vectors = self.encoder.embed(large)
        self.last_embedding = vectors.detach()
        if small:
            vectors = torch.cat([vectors, self.encoder.embed(torch.cat(small))])
        scores = self.head(vectors, frozen=self.is_frozen)
        answers = self.centre(self._taught(large), self.temperature)
        count = len(views[0])
        loss = view_distillation(scores.unflatten(0, (-1, count)), answers.unflatten(0, (2, count)))
        return {"loss": loss}

    @torch.no_grad()
    def _taught(self, large: Tensor) -> Tensor:
        """Return the teacher's scores of the large views."""
        scores: Tensor = self.teacher_head(self.teacher_encoder.module.embed(large))
        return scores

    def after_step(self, step: int) -> None:
        """Let teacher and centre follow."""
        self.follow(step, (self.head, self.teacher_head))
        self.centre.update()
