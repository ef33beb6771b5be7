"""What methods share that learn from a slow copy of themselves, which sees more than they do."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from medssl.encoders.base import Encoder
from medssl.methods.base import Method
from medssl.parts.teacher import Teacher
from medssl.parts.view_sizes import local_edges
from medssl.sampling.body import Body
from medssl.sampling.places import Sampler
from medssl.training.schedules import cosine_between
from medssl.transforms.presets import multicrop_views
from medssl.transforms.views import ViewRecipe

__all__ = ["SelfDistillingMethod"]

WARMING = 0.3
"""Share of a run in which the teacher's temperature rises (30 of 100 epochs)."""


class SelfDistillingMethod(Method):
    """A method whose teacher sees two large views of a crop and whose student also small ones.

    Args:
        local_views: Small views of a crop, which only the student sees.
        crops: Crops of a place, each with views of its own.
        momentum: Of the teacher at the start; it ends at 1.
        teacher_temperature: At the start and after a third of the run.
        frozen_share: Share of the run at the start of which prototypes do not move.
        strength: Of the changes of intensity.
        modality: CT gets half the changes of grey values, MR those of its scanners.
        body_share: Least share of body in a crop.
        **shared: Encoder and patch, see :class:`Method`.
    """

    def __init__(
        self,
        *,
        local_views: int = 8,
        crops: int = 1,
        momentum: float = 0.996,
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
        self.teacher_encoder = Teacher(self.encoder)

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

    @property
    def is_frozen(self) -> bool:
        """Whether prototypes do not move yet."""
        return self.progress < self.frozen_share

    @property
    def temperature(self) -> float:
        """What the teacher's scores are divided by now."""
        start, end = self.teacher_temperature
        warming = max(1, round(WARMING * self.plan.steps))
        return cosine_between(self.global_step, warming, start=start, end=end)

    def follow(self, step: int, *heads: tuple[nn.Module, Teacher[Any]]) -> None:
        """Let teachers follow, ever more slowly: that of the encoder, and those of heads.

        Args:
            step: Steps done.
            *heads: Each with its teacher.
        """
        momentum = cosine_between(step, self.plan.steps, start=self.momentum, end=1.0)
        for student, teacher in ((self.encoder, self.teacher_encoder), *heads):
            teacher.update(student, momentum)

    def exported_encoder(self) -> Encoder:
        """Return the teacher's encoder, which is the better one in these papers."""
        return self.teacher_encoder.module
