"""Barlow Twins: features that agree between two views and are not redundant.

Paper: Zbontar et al. 2021, arXiv:2103.03230.
Ours differs: the correlation is that of the rows of all ranks, with gradient; both terms are
divided by the number of features, so that the learning rate does not depend on it; nothing is
mirrored or turned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from medssl.losses.contrast import unit
from medssl.losses.redundancy import cross_correlation
from medssl.methods.base import Targets
from medssl.methods.two_views import TwoViewMethod
from medssl.parts.gather import gather
from medssl.parts.heads import mlp
from medssl.types import Losses

__all__ = ["BarlowTwins"]


class BarlowTwins(TwoViewMethod):
    """Redundancy reduction between two views.

    Args:
        redundancy_weight: Weight of features that say the same.
        width: Hidden and output features of the projection head; the paper takes 8192.
        **shared: Views, see :class:`TwoViewMethod`; encoder and patch.
    """

    name: ClassVar[str] = "barlow_twins"
    couples_samples: ClassVar[bool] = True

    def __init__(
        self,
        *,
        redundancy_weight: float = 5e-3,
        width: int = 2048,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.redundancy_weight = redundancy_weight
        self.width = width
        self.head = mlp(self.encoder.channels[-1], width, width, layers=3)

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
        """Return how far the correlation of the views is from the identity."""
        first, second = self.head(self.encoder.embed(torch.cat(list(views)))).chunk(2)
        self.last_embedding = unit(first.detach())
        disagreement, redundancy = (
            term / self.width for term in cross_correlation(gather(first), gather(second))
        )
        return {
            "loss": disagreement + self.redundancy_weight * redundancy,
            "disagreement": disagreement,
            "redundancy": redundancy,
        }
