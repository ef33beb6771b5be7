"""SwAV: say from one view to which prototype another view is assigned.

Paper: Caron et al. 2020, arXiv:2006.09882; in medicine: Wolf et al. 2023 and 2024.
Ours differs: assignments are balanced over the rows of all ranks, in logarithms; prototypes have
length 1 by construction and not by a correction after each step; one queue serves both views, is
part of a checkpoint and counts as far as it is filled; nothing is mirrored or turned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.errors import ConfigError
from medssl.losses.assignment import sinkhorn, swapped_prediction
from medssl.losses.contrast import cosines, unit
from medssl.methods.base import Targets
from medssl.methods.two_views import TwoViewMethod
from medssl.parts.gather import gather, rank, world_size
from medssl.parts.heads import mlp
from medssl.parts.queue import Queue
from medssl.transforms.views import ViewRecipe
from medssl.types import Losses

__all__ = ["SwAV"]


class SwAV(TwoViewMethod):
    """Swapped assignment to prototypes.

    Args:
        local_views: Small views of each crop, of half the patch's edges, that are asked too.
        prototypes: How many.
        frozen: Share of the run at its start in which prototypes stay.
        queue: Embeddings of earlier steps that help to balance; 0 is none. Wanted where a step has
            far fewer crops than there are prototypes.
        epsilon: Temperature of the assignment.
        temperature: Of the prediction.
        width: Hidden features of the projection head.
        out: Length of embeddings and prototypes.
        **shared: Views, see :class:`TwoViewMethod`; encoder and patch.

    Raises:
        ConfigError: If there are fewer than two prototypes, or small views of crops that overlap.
    """

    name: ClassVar[str] = "swav"
    couples_samples: ClassVar[bool] = True

    def __init__(
        self,
        *,
        local_views: int = 0,
        prototypes: int = 500,
        frozen: float = 0.01,
        queue: int = 0,
        epsilon: float = 0.05,
        temperature: float = 0.1,
        width: int = 1024,
        out: int = 128,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if prototypes < 2:
            raise ConfigError(f"{prototypes} prototypes tell nothing apart; use 2 or more")
        size = tuple(max(1, edge // 2) for edge in self.patch)
        self.recipe = self.pair.recipe(local_views=local_views, local_size=size)
        self.frozen = frozen
        self.epsilon = epsilon
        self.temperature = temperature
        self.head = mlp(self.encoder.channels[-1], width, out, norm="layer")
        self.prototypes = nn.Parameter(F.normalize(torch.randn(prototypes, out), dim=1))
        self.queue = Queue(queue, out) if queue else None

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return the options of tests."""
        return {"crops": 2, "prototypes": 8, "frozen": 0.0, "width": 32, "out": 16}

    def views(self) -> ViewRecipe:
        """Two views of each crop and small ones, or one of each of two crops that overlap."""
        return self.recipe

    def loss(
        self,
        views: Sequence[Tensor],
        targets: Targets,  # noqa: ARG002 there are no negatives that could be false
        generator: torch.Generator,  # noqa: ARG002 nothing is drawn
    ) -> Losses:
        """Return the cross-entropy of each view with the assignments of the other large one."""
        features = [self.encoder.embed(torch.cat(list(views[:2])))]
        if len(views) > 2:
            features.append(self.encoder.embed(torch.cat(list(views[2:]))))
        embedded = unit(self.head(torch.cat(features))).chunk(len(views))
        self.last_embedding = torch.cat(embedded[:2]).detach()
        prototypes = unit(self.prototypes)
        if self.progress < self.frozen:
            # a gradient of 0 and not none, so that devices that train together agree
            prototypes = prototypes.detach() + 0.0 * prototypes
        scores = [cosines(each, prototypes) for each in embedded]
        codes = [self._assigned(each, prototypes) for each in scores[:2]]
        if self.queue is not None:
            self.queue.stage(gather(self.last_embedding))
        return {"loss": swapped_prediction(scores, codes, temperature=self.temperature)}

    @torch.no_grad()
    def _assigned(self, scores: Tensor, prototypes: Tensor) -> Tensor:
        """Return the assignment of rows, balanced with the rows of the queue."""
        weights = None
        count = len(scores)
        if self.queue is not None:
            # each rank brings its part of the queue, which is the same on all
            part = slice(rank(), None, world_size())
            scores = torch.cat([scores, cosines(self.queue.rows[part], prototypes)])
            filled = self.queue.filled[part].float()
            weights = torch.cat([filled.new_ones(count), filled])
        codes = sinkhorn(scores, epsilon=self.epsilon, weights=weights)
        return codes[:count]

    def after_step(self, step: int) -> None:  # noqa: ARG002 the queue goes by what was staged
        """Let the queue take in the embeddings."""
        if self.queue is not None:
            self.queue.advance()
