"""BYOL: say from one view what a slow copy of the network says of the other.

Paper: Grill et al. 2020, arXiv:2006.07733; computed predictor: Tian et al. 2021, arXiv:2102.06810.
Ours differs: the teacher's norms use running statistics, so that what it says of a crop does not
depend on the batch; batch norm in the heads is over all ranks; nothing is mirrored or turned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from medssl.encoders.base import Encoder
from medssl.losses.contrast import unit
from medssl.losses.prediction import cosine_distance
from medssl.methods.base import Targets
from medssl.methods.two_views import TwoViewMethod
from medssl.parts.direct_predictor import DirectPredictor, PredictorKind, make_predictor
from medssl.parts.heads import Norm, mlp
from medssl.parts.teacher import Teacher
from medssl.training.schedules import cosine_between
from medssl.types import Losses

__all__ = ["BYOL"]


class BYOL(TwoViewMethod):
    """Prediction of a teacher's embedding of the other view.

    Args:
        momentum: Of the running mean at the start; it rises to 1 along a cosine. The paper's 0.996
            is for runs of many thousand steps.
        predictor: ``mlp`` is trained; ``direct`` is computed from the embeddings.
        norm: In the heads. The paper's is ``batch``; with ``layer`` no sample sees another.
        width: Hidden features of projection head and predictor.
        out: Length of the embedding that is predicted.
        **shared: Views, see :class:`TwoViewMethod`; encoder and patch.
    """

    name: ClassVar[str] = "byol"
    couples_samples: ClassVar[bool] = True

    def __init__(
        self,
        *,
        momentum: float = 0.99,
        predictor: PredictorKind = "mlp",
        norm: Norm = "batch",
        width: int = 1024,
        out: int = 256,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.momentum = momentum
        self.head = mlp(self.encoder.channels[-1], width, out, norm=norm)
        self.predictor = make_predictor(predictor, out, width, norm=norm)
        self.teacher_encoder = Teacher(self.encoder)
        self.teacher_head = Teacher(self.head)

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return the options of tests."""
        return {"crops": 2, "width": 32, "out": 16}

    def loss(
        self,
        views: Sequence[Tensor],
        targets: Targets,  # noqa: ARG002 there are no negatives that could be false
        generator: torch.Generator,  # noqa: ARG002 nothing is drawn
    ) -> Losses:
        """Return ``2 - 2 cos`` of predictions and the teacher's embeddings, both ways."""
        both = torch.cat(list(views))
        predicted = self.predictor(self.head(self.encoder.embed(both)))
        with torch.no_grad():
            taught = self.teacher_head.module(self.teacher_encoder.module.embed(both))
        self.last_embedding = unit(taught)
        other = taught.roll(len(views[0]), dims=0)
        return {"loss": 2 * cosine_distance(predicted, other)}

    def after_step(self, step: int) -> None:  # noqa: ARG002 the schedule goes by progress
        """Let the teacher follow, ever more slowly."""
        momentum = cosine_between(self.global_step, self.plan.steps, start=self.momentum, end=1.0)
        self.teacher_head.update(self.head, momentum)
        self.teacher_encoder.update(self.encoder, momentum)
        if isinstance(self.predictor, DirectPredictor):
            self.predictor.update()

    def exported_encoder(self) -> Encoder:
        """Return the student's encoder, as the paper does."""
        return self.encoder
