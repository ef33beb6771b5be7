"""SimSiam: say from one view what the same network says of the other, and don't look back.

Papers: Chen and He 2021, arXiv:2011.10566; computed predictor: Tian et al. 2021, arXiv:2102.06810
(DirectPred).
Ours differs: the predictor's learning rate follows the schedule of the run (the paper keeps it
constant); batch norm is over both views and all ranks; nothing is mirrored or turned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from medssl.losses.contrast import unit
from medssl.losses.prediction import cosine_distance
from medssl.methods.base import Targets
from medssl.methods.two_views import TwoViewMethod
from medssl.parts.direct_predictor import DirectPredictor, PredictorKind, make_predictor
from medssl.parts.heads import Norm, mlp
from medssl.types import Losses

__all__ = ["SimSiam"]


class SimSiam(TwoViewMethod):
    """Prediction of the own embedding of the other view, without a gradient through it.

    It wants 64 crops a step or more, on all ranks together.

    Args:
        predictor: ``mlp`` is trained; ``direct`` is computed from the embeddings.
        norm: In the heads. The paper's is ``batch``; with ``layer`` no sample sees another.
        width: Hidden features of the projection head; those of the predictor are a quarter of
            ``out``.
        out: Length of the embedding that is predicted.
        **shared: Views, see :class:`TwoViewMethod`; encoder and patch.
    """

    name: ClassVar[str] = "simsiam"
    couples_samples: ClassVar[bool] = True

    def __init__(
        self,
        *,
        predictor: PredictorKind = "mlp",
        norm: Norm = "batch",
        width: int = 1024,
        out: int = 512,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.head = mlp(self.encoder.channels[-1], width, out, layers=3, norm=norm, last_norm=True)
        self.predictor = make_predictor(predictor, out, max(1, out // 4), norm=norm)

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
        """Return ``-cos`` of predictions and the other view's embeddings, both ways."""
        embedded = self.head(self.encoder.embed(torch.cat(list(views))))
        self.last_embedding = unit(embedded.detach())
        other = embedded.detach().roll(len(views[0]), dims=0)
        return {"loss": cosine_distance(self.predictor(embedded), other) - 1.0}

    def after_step(self, step: int) -> None:  # noqa: ARG002 the predictor knows no schedule
        """Compute the predictor from what was embedded, if it is one that is computed."""
        if isinstance(self.predictor, DirectPredictor):
            self.predictor.update()
