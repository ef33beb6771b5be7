"""MoCo: the same anatomy seen twice is nearer than what a long queue remembers.

Papers: He et al. 2020, arXiv:1911.05722; Chen et al. 2020, arXiv:2003.04297; mixed hard negatives:
Kalantidis et al. 2020, arXiv:2010.01028 (MoCHi).
Ours differs: keys come from a teacher in evaluation mode and the heads have no batch norm, so that
nothing leaks from the batch into a key and no shuffling between GPUs is needed; both views ask and
answer; the batch's own keys are negatives too, which gives the first steps some, and crops of one
patient that overlap are not; the queue starts empty instead of with noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from medssl.encoders.base import Encoder
from medssl.losses.contrast import cosines, info_nce, mix_negatives, unit
from medssl.methods.base import Targets
from medssl.methods.two_views import TwoViewMethod
from medssl.parts.gather import gather
from medssl.parts.heads import mlp
from medssl.parts.queue import Queue
from medssl.parts.teacher import Teacher
from medssl.parts.two_views import overlapping_rows
from medssl.types import Losses

__all__ = ["MoCo"]

MIXING_FROM = 0.1
"""Share of the run before anything is mixed: the paper waits for 10 to 15 of its 200 epochs."""


class MoCo(TwoViewMethod):
    """Momentum contrast with a queue.

    Args:
        temperature: What cosines are divided by.
        momentum: Of the running mean that makes keys. The paper's 0.999 is for runs of many
            thousand steps.
        queue: Keys that are remembered. Few volumes fill a long one with anatomy that is the same.
        mixed: Hard negatives made for each query from two of the queue, and an eighth as many from
            one of the queue and the query (the MoCHi paper takes 1024 and 128); 0 makes none.
        hardest: How many of the nearest are mixed (there 1024).
        clip: Cosine above which a key is most likely the same anatomy, and is not mixed.
        width: Hidden features of the projection head.
        out: Length of the embedding that is compared.
        **shared: Views, see :class:`TwoViewMethod`; encoder and patch.
    """

    name: ClassVar[str] = "moco"
    couples_samples: ClassVar[bool] = True

    def __init__(
        self,
        *,
        temperature: float = 0.2,
        momentum: float = 0.99,
        queue: int = 4096,
        mixed: int = 0,
        hardest: int = 256,
        clip: float = 0.95,
        width: int = 1024,
        out: int = 128,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.temperature = temperature
        self.momentum = momentum
        self.mixed = mixed
        self.hardest = hardest
        self.clip = clip
        self.head = mlp(self.encoder.channels[-1], width, out, norm="layer")
        self.teacher_encoder = Teacher(self.encoder)
        self.teacher_head = Teacher(self.head)
        self.queue = Queue(queue, out)

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return the options of tests."""
        return {"crops": 2, "queue": 2, "width": 32, "out": 16}

    def loss(self, views: Sequence[Tensor], targets: Targets, generator: torch.Generator) -> Losses:
        """Return the contrast of each view's queries with the other's keys and the queue."""
        both = torch.cat(list(views))
        queries = unit(self.head(self.encoder.embed(both)))
        self.last_embedding = queries.detach()
        with torch.no_grad():
            keys = unit(self.teacher_head.module(self.teacher_encoder.module.embed(both)))
        first, second = (gather(each) for each in queries.chunk(2))
        first_keys, second_keys = (gather(each) for each in keys.chunk(2))
        same = overlapping_rows(targets, len(views[0])).to(both.device)
        self.queue.stage(torch.cat([first_keys, second_keys]))
        there = self._contrast(first, second_keys, same, generator)
        back = self._contrast(second, first_keys, same, generator)
        return {"loss": (there + back) / 2}

    def _contrast(
        self, queries: Tensor, keys: Tensor, same: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return how surely each query ``(n, D)`` finds its own key among all others."""
        in_batch = cosines(queries, keys)
        remembered = self.queue.filled.expand(len(queries), -1)
        negative = [in_batch, cosines(queries, self.queue.rows)]
        allowed = [~same, remembered]
        if self.mixed and self.progress >= MIXING_FROM:
            made, usable = mix_negatives(
                queries,
                self.queue.rows,
                remembered,
                generator,
                hardest=self.hardest,
                mixed=self.mixed,
                with_query=self.mixed // 8,
                clip=self.clip,
            )
            negative.append(cosines(queries.unsqueeze(1), made).squeeze(1))
            allowed.append(usable)
        return info_nce(
            in_batch.diagonal(),
            torch.cat(negative, dim=1),
            temperature=self.temperature,
            allowed=torch.cat(allowed, dim=1),
        ).mean()

    def after_step(self, step: int) -> None:  # noqa: ARG002 the momentum is constant, as in the paper
        """Let the teacher follow and the queue take in the keys."""
        self.teacher_head.update(self.head, self.momentum)
        self.teacher_encoder.update(self.encoder, self.momentum)
        self.queue.advance()

    def exported_encoder(self) -> Encoder:
        """Return the student's encoder, as the paper does: the teacher only makes keys."""
        return self.encoder
