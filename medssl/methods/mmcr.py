"""MMCR: views of a crop close together, their centres spread over all directions.

Paper: Yerxa et al. 2023, arXiv:2303.03307; the local term as in lightly's ``MMCRLoss``.
Ours differs: centres are those of all ranks, with gradient; the head has layer norm, so that no
sample sees another but in the loss; nothing is mirrored or turned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from medssl.errors import ConfigError
from medssl.losses.contrast import unit
from medssl.losses.redundancy import manifold_capacity
from medssl.methods.base import Targets
from medssl.methods.two_views import TwoViewMethod
from medssl.parts.gather import gather
from medssl.parts.heads import mlp
from medssl.transforms.views import ViewRecipe
from medssl.types import Losses

__all__ = ["MMCR"]


class MMCR(TwoViewMethod):
    """Maximum manifold capacity.

    Args:
        views_a_crop: How often each crop is seen, at least twice.
        local_weight: Weight of the size of the cloud of views around each centre.
        width: Hidden features of the projection head.
        out: Length of the embedding; the paper takes 512.
        **shared: Views, see :class:`TwoViewMethod`; encoder and patch.

    Raises:
        ConfigError: If a crop is seen once only, or crops that overlap more than once each.
    """

    name: ClassVar[str] = "mmcr"
    couples_samples: ClassVar[bool] = True

    def __init__(
        self,
        *,
        views_a_crop: int = 2,
        local_weight: float = 5e-3,
        width: int = 1024,
        out: int = 128,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if views_a_crop < 2:
            raise ConfigError(
                f"views_a_crop was {views_a_crop}; a centre is the mean of at least 2 views"
            )
        self.recipe = self.pair.recipe(views_a_crop)
        self.local_weight = local_weight
        self.head = mlp(self.encoder.channels[-1], width, out, norm="layer")

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return the options of tests."""
        return {"crops": 2, "width": 32, "out": 16}

    def views(self) -> ViewRecipe:
        """Two or more views of each crop, or one of each of two crops that overlap."""
        return self.recipe

    def loss(
        self,
        views: Sequence[Tensor],
        targets: Targets,  # noqa: ARG002 there are no negatives that could be false
        generator: torch.Generator,  # noqa: ARG002 nothing is drawn
    ) -> Losses:
        """Return the size of the clouds around centres less that of the cloud of centres."""
        embedded = self.head(self.encoder.embed(torch.cat(list(views))))
        self.last_embedding = unit(embedded.detach())
        by_crop = embedded.unflatten(0, (len(views), -1)).transpose(0, 1)
        spread, local = manifold_capacity(gather(by_crop))
        return {"loss": self.local_weight * local - spread, "centres": spread, "around": local}
