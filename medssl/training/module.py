"""What methods and tasks share as Lightning modules: seeds, finite losses, optimiser, logs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from medssl.encoders.base import Encoder
from medssl.errors import TrainingError
from medssl.training.config import OptimConfig
from medssl.training.datamodules import decoded
from medssl.training.optim import build_optimizer, build_scheduler, decay_weights_by
from medssl.types import Batch, Losses

__all__ = ["TrainingModule", "TrainingPlan", "batch_generator"]


@dataclass(frozen=True)
class TrainingPlan:
    """What a module must know of the run that trains it.

    Attributes:
        optim: Optimiser settings.
        steps: Optimiser steps of the whole run, for schedules.
        seed: Root of every random choice.
    """

    optim: OptimConfig = field(default_factory=OptimConfig)
    steps: int = 1000
    seed: int = 0


def batch_generator(seed: int, first_index: int, device: torch.device) -> torch.Generator:
    """Return the source of randomness for the batch that starts with sample ``first_index``.

    The same two numbers give the same draws after a resume, with any number of workers or ranks.
    The global generator (dropout) is set from it too.
    """
    state = np.random.SeedSequence([seed, first_index]).generate_state(2, dtype=np.uint64)
    torch.manual_seed(int(state[0] >> np.uint64(1)))
    generator = torch.Generator(device=device)
    generator.manual_seed(int(state[1] >> np.uint64(1)))
    return generator


class TrainingModule(LightningModule):
    """A Lightning module whose step is a pure function of its weights, its batch and the seed.

    Subclasses implement :meth:`compute_losses`; they neither log nor seed nor optimise.

    Attributes:
        encoder: The network that is pretrained or fine-tuned.
        plan: Set by whoever starts the training.
    """

    encoder: Encoder

    def __init__(self) -> None:
        super().__init__()
        self.plan = TrainingPlan()

    def compute_losses(self, batch: Batch, generator: torch.Generator) -> Losses:
        """Return ``"loss"`` and whatever else is worth a column in ``metrics.csv``."""
        raise NotImplementedError

    def after_step(self, step: int) -> None:
        """Follow an optimiser step: teachers, queues, centres."""

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:  # noqa: ARG002
        """Make intensities of stored integers once they are on the device."""
        return decoded(batch)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002 Lightning's signature
        """Compute the loss of one batch and see that it is finite.

        Raises:
            TrainingError: If a term is NaN or infinite; the message names term, step and volumes.
        """
        generator = batch_generator(self.plan.seed, batch.indices[0], self.device)
        losses = self.compute_losses(batch, generator)
        # one wait for the device a step: dear enough to notice on tiny networks, and worth it
        if not bool(torch.isfinite(losses["loss"]).all()):
            self._refuse_non_finite(losses, batch)
        logged = {name: term.detach() for name, term in losses.items()}
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.log_dict({**logged, "lr": rate}, batch_size=1)
        return losses["loss"]

    def _refuse_non_finite(self, losses: Losses, batch: Batch) -> None:
        bad = [name for name, term in losses.items() if not bool(torch.isfinite(term).all())]
        raise TrainingError(
            f"the loss is not finite at step {self.global_step} (terms: {', '.join(bad)}; volumes: "
            f"{', '.join(sorted(set(batch.volumes)))}); the last checkpoint is kept. Check these "
            "volumes with `medssl verify`, or lower optim.lr and resume"
        )

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:  # noqa: ARG002
        """See that the gradient is finite before it reaches the weights.

        Raises:
            TrainingError: If it is not (float16 runs leave this to their loss scaler).
        """
        if self.trainer.precision == "16-mixed":
            return
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if not bool(torch.isfinite(norm)):
            raise TrainingError(
                f"the gradient is not finite at step {self.global_step}; the last checkpoint is "
                "kept. Lower optim.lr or optim.clip_norm and resume"
            )

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then let teachers and queues follow: before the checkpoint of this step is written.

        Lightning's ``on_train_batch_end`` comes after that of the callbacks, and a run that was
        resumed would miss one update.
        """
        optimizer = self.trainer.optimizers[0]
        decay_weights_by(optimizer, self.plan.optim, self.global_step, self.plan.steps)
        super().optimizer_step(*args, **kwargs)
        self.after_step(self.global_step + 1)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return AdamW and the schedule of the plan."""
        optimizer = build_optimizer(self, self.encoder, self.plan.optim)
        scheduler = build_scheduler(optimizer, self.plan.optim, self.plan.steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }
