"""Watches a pretraining run for collapse: the state in which every input gets the same features.

A falling loss does not show it; SimCLR has been seen to collapse while its loss fell by a third.
The rank and the spread of the features do.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from typing import Any, Literal

import torch
from lightning import Callback, Trainer
from torch import Tensor

from medssl.encoders.base import Encoder
from medssl.errors import CollapseError, ConfigError
from medssl.evaluation.rank import CollapseFigures, collapse_figures
from medssl.training.module import TrainingModule
from medssl.types import Batch

__all__ = ["CollapseMonitor", "embed_crops"]

log = logging.getLogger(__name__)


class CollapseMonitor(Callback):
    """Logs RankMe, alpha-ReQ and spread of the features, and ends a run when they become alike.

    A method that keeps ``last_embedding``, ``(n, d)``, is watched on the vectors its loss compares:
    the most recent ones, so that small batches add up. For any other method the first crops of the
    run are kept and embedded anew at every look, without touching a gradient, a running mean or a
    random state. Both are figures of one method over time; they don't rank methods.

    Args:
        every: Steps between two looks; 0 never looks.
        inputs: How many vectors a look is made of; RankMe can't exceed it.
        spread_floor: Spread under which all features count as alike. Features rounded to bfloat16
            scatter by about 0.002 when they are in truth the same.
        rank_floor: RankMe under which all features count as lying on one line.
        patience: Looks in a row that must agree before anything is done.
        action: ``raise`` ends the run, ``warn`` says so once and goes on.

    Attributes:
        figures: What the last look found, or none before the first.
    """

    def __init__(
        self,
        *,
        every: int = 50,
        inputs: int = 64,
        spread_floor: float = 0.004,
        rank_floor: float = 1.05,
        patience: int = 3,
        action: Literal["raise", "warn"] = "raise",
    ) -> None:
        if every < 0 or inputs < 2 or patience < 1:
            raise ConfigError(
                f"every={every}, inputs={inputs}, patience={patience} can't watch a run; expected "
                "at least 0, 2 and 1"
            )
        self.every = every
        self.inputs = inputs
        self.spread_floor = spread_floor
        self.rank_floor = rank_floor
        self.patience = patience
        self.action = action
        self.figures: CollapseFigures | None = None
        self._recent: deque[Tensor] = deque(maxlen=inputs)
        self._crops: list[Tensor] = []
        self._bad_looks = 0
        self._last_step = 0

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: TrainingModule,  # type: ignore[override]  # the only modules this package trains
        outputs: Any,  # noqa: ARG002 Lightning's signature
        batch: Batch,
        batch_idx: int,  # noqa: ARG002 Lightning's signature
    ) -> None:
        """Keep what this batch gives, and look when it is time.

        Raises:
            CollapseError: If the features have been alike for ``patience`` looks in a row.
        """
        if not self.every:
            return
        self._keep(pl_module, batch)
        step = trainer.global_step
        if step == self._last_step or step % self.every:
            return
        self._last_step = step
        vectors = self._vectors(pl_module)
        if vectors.shape[0] < 2:
            return
        self.figures = collapse_figures(vectors)
        logged = {
            "rankme": self.figures.rankme,
            "feature_spread": self.figures.spread,
            "alpha_req": self.figures.alpha,
        }
        # Past Lightning's log(), which would drop looks that fall between two logged steps; its
        # loggers number steps from 0.
        for logger in trainer.loggers:
            logger.log_metrics(logged, step=step - 1)
        self._judge(trainer, self.figures, step)

    def _keep(self, module: TrainingModule, batch: Batch) -> None:
        embedding = getattr(module, "last_embedding", None)
        if isinstance(embedding, Tensor):
            self._recent.extend(embedding.detach().flatten(0, -2).float())
        elif len(self._crops) < self.inputs:
            crops = batch.images.detach().flatten(0, 1).cpu()
            self._crops.extend(crops[: self.inputs - len(self._crops)].clone())

    def _vectors(self, module: TrainingModule) -> Tensor:
        """Return ``(n, d)`` features, at most ``inputs`` of them."""
        if self._recent:
            return torch.stack(list(self._recent))
        if not self._crops:
            return torch.empty(0, 0)
        return embed_crops(module.encoder, self._crops, module.device)

    def _judge(self, trainer: Trainer, figures: CollapseFigures, step: int) -> None:
        alike = figures.spread < self.spread_floor or figures.rankme < self.rank_floor
        # Ranks must agree, or one would leave the others waiting for it.
        alike = trainer.strategy.reduce_boolean_decision(alike, all=True)
        self._bad_looks = self._bad_looks + 1 if alike else 0
        if self._bad_looks < self.patience:
            return
        message = (
            f"the features of all inputs are alike at step {step}: spread {figures.spread:.4f}, "
            f"RankMe {figures.rankme:.2f} over {figures.inputs} crops. What this run learns from "
            "here is worthless; lower optim.lr, or give the method more negatives or a stronger "
            "regulariser"
        )
        if self.action == "raise":
            raise CollapseError(message)
        if self._bad_looks == self.patience:
            log.warning(message)


@torch.no_grad()
def embed_crops(encoder: Encoder, crops: Sequence[Tensor], device: torch.device) -> Tensor:
    """Return the pooled features of crops, ``(n, d)``, leaving the encoder as it was found.

    Args:
        encoder: Any, in whatever mode.
        crops: ``(C, *patch)`` each.
        device: Where the encoder is.
    """
    modes = [(module, module.training) for module in encoder.modules()]
    encoder.eval()
    try:
        # One by one: a look must not need more memory than a training step.
        return torch.cat([encoder.embed(crop[None].to(device)).float().cpu() for crop in crops])
    finally:
        for module, training in modes:
            module.training = training
