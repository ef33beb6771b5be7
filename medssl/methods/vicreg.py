"""VICReg: views that agree, features that vary, and vary apart from each other.

Paper: Bardes et al. 2022, arXiv:2105.04906.
Ours differs: variance and covariance are those of the rows of all ranks, with gradient; the head
has layer norm, so that no sample sees another but in the loss; nothing is mirrored or turned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.losses.contrast import unit
from medssl.losses.redundancy import covariance_penalty, variance_hinge
from medssl.methods.base import Targets
from medssl.methods.two_views import TwoViewMethod
from medssl.parts.gather import gather
from medssl.parts.heads import mlp
from medssl.types import Losses

__all__ = ["VICReg"]


class VICReg(TwoViewMethod):
    """Variance, invariance and covariance.

    Args:
        invariance_weight: Weight of the squared distance of the two views.
        variance_weight: Weight of features that vary too little.
        covariance_weight: Weight of features that vary together.
        width: Hidden and output features of the projection head; the paper takes 8192.
        **shared: Views, see :class:`TwoViewMethod`; encoder and patch.
    """

    name: ClassVar[str] = "vicreg"
    couples_samples: ClassVar[bool] = True

    def __init__(
        self,
        *,
        invariance_weight: float = 25.0,
        variance_weight: float = 25.0,
        covariance_weight: float = 1.0,
        width: int = 2048,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.invariance_weight = invariance_weight
        self.variance_weight = variance_weight
        self.covariance_weight = covariance_weight
        self.head = mlp(self.encoder.channels[-1], width, width, layers=3, norm="layer")

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return the options of tests."""
        return {"crops": 2, "width": 16}

    def loss(
        self,
        views: Sequence[Tensor],
        targets: Targets,  # noqa: ARG002 there are no negatives that could be false
        generator: torch.Generator,  # noqa: ARG002 nothing is drawn
    ) -> Losses:
        """Return the three terms, weighted."""
        embedded = self.head(self.encoder.embed(torch.cat(list(views))))
        first, second = (gather(each.float()) for each in embedded.chunk(2))
        self.last_embedding = unit(embedded.detach())
        terms = {
            "invariance": F.mse_loss(first, second),
            "variance": (variance_hinge(first) + variance_hinge(second)) / 2,
            "covariance": covariance_penalty(first) + covariance_penalty(second),
        }
        total = (
            self.invariance_weight * terms["invariance"]
            + self.variance_weight * terms["variance"]
            + self.covariance_weight * terms["covariance"]
        )
        return {"loss": total, **terms}
