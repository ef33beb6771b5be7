"""DINO: say of a part of a volume what a slow copy of oneself says of another part of it.

Paper: Caron et al. 2021, arXiv:2104.14294; reference code: facebookresearch/dino; views of volumes
as in 3DINO (Xu et al. 2025).
Ours differs: the vector of an image is the mean of the coarsest map, so that any encoder takes
part; no view is mirrored; several crops of a place may take part, since few volumes fit in a batch;
the centre is moved after the step, by the raw scores of all ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from medssl.encoders.base import Encoder
from medssl.losses.distillation import view_distillation
from medssl.methods.base import Method, Targets
from medssl.parts.prototypes import Centre, PrototypeHead
from medssl.parts.teacher import Teacher
from medssl.parts.view_sizes import local_edges
from medssl.sampling.body import Body
from medssl.sampling.places import Sampler
from medssl.training.schedules import cosine_between
from medssl.transforms.presets import multicrop_views
from medssl.transforms.views import ViewRecipe
from medssl.types import Losses

__all__ = ["DINO"]

WARMING = 0.3
"""Share of a run in which the teacher's temperature rises (30 of 100 epochs)."""


class DINO(Method):
    """Self-distillation over views, without labels.

    Args:
        prototypes: Entries of an answer; 65536 in the paper, fewer for few volumes.
        width: Hidden features of the head; an eighth of them are compared with prototypes.
        local_views: Small views of a crop, which only the student sees.
        crops: Crops of a place, each with views of its own.
        momentum: Of the teacher at the start; it ends at 1.
        centre_momentum: Of the running mean of the teacher's scores.
        teacher_temperature: At the start and after a third of the run.
        frozen_share: Share of the run at the start of which prototypes do not move.
        strength: Of the changes of intensity.
        modality: CT gets half the changes of grey values, MR those of its scanners.
        body_share: Least share of body in a crop.
        **shared: Encoder and patch, see :class:`Method`.
    """

    name: ClassVar[str] = "dino"
    couples_samples: ClassVar[bool] = True

    def __init__(
        self,
        *,
        prototypes: int = 65536,
        width: int = 2048,
        local_views: int = 8,
        crops: int = 1,
        momentum: float = 0.996,
        centre_momentum: float = 0.9,
        teacher_temperature: tuple[float, float] = (0.04, 0.07),
        frozen_share: float = 0.01,
        strength: float = 1.0,
        modality: Literal["ct", "mr", "other"] = "other",
        body_share: float = 0.5,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.local_views = local_views
        self.crops = crops
        self.momentum = momentum
        self.teacher_temperature = tuple(teacher_temperature)
        self.frozen_share = frozen_share
        self.strength = strength
        self.modality: Literal["ct", "mr", "other"] = modality
        self.body_share = body_share
        self.head = PrototypeHead(
            self.encoder.channels[-1], prototypes, hidden=width, bottleneck=max(1, width // 8)
        )
        self.teacher_encoder = Teacher(self.encoder)
        self.teacher_head = Teacher(self.head)
        self.centre = Centre(prototypes, momentum=centre_momentum)

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return the options of tests."""
        return {"prototypes": 32, "width": 64, "local_views": 2, "frozen_share": 0.0}

    def places(self) -> Sampler:
        """Look where there is body."""
        return Body(share=self.body_share, crops=self.crops)

    def views(self) -> ViewRecipe:
        """Two large views of each crop and several small ones; left stays left."""
        return multicrop_views(
            self.patch,
            local_edges(self.patch, self.encoder.strides),
            local_views=self.local_views,
            strength=self.strength,
            modality=self.modality,
        )

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
        scores = self.head(vectors, frozen=self.progress < self.frozen_share)
        answers = self.centre(self._taught(large), self._temperature())
        count = len(views[0])
        loss = view_distillation(scores.unflatten(0, (-1, count)), answers.unflatten(0, (2, count)))
        return {"loss": loss}

    @torch.no_grad()
    def _taught(self, large: Tensor) -> Tensor:
        """Return the teacher's scores of the large views."""
        scores: Tensor = self.teacher_head(self.teacher_encoder.module.embed(large))
        return scores

    def _temperature(self) -> float:
        start, end = self.teacher_temperature
        warming = max(1, round(WARMING * self.plan.steps))
        return cosine_between(self.global_step, warming, start=start, end=end)

    def after_step(self, step: int) -> None:
        """Let teacher and centre follow."""
        momentum = cosine_between(step, self.plan.steps, start=self.momentum, end=1.0)
        self.teacher_encoder.update(self.encoder, momentum)
        self.teacher_head.update(self.head, momentum)
        self.centre.update()

    def exported_encoder(self) -> Encoder:
        """Return the teacher's encoder, which is the better one in the paper."""
        return self.teacher_encoder.module
