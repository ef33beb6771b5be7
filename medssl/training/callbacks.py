"""What happens beside the steps: progress and throughput."""

from __future__ import annotations

import time
from typing import Any

from lightning import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from medssl.types import Batch

__all__ = ["ProgressReporter"]


class ProgressReporter(Callback):
    """Shows how far a run is: a bar on a terminal, plain lines elsewhere; logs volumes per second.

    Args:
        steps: Optimiser steps of the whole run.
        console: Where to; the standard error stream by default.
        line_every_s: Seconds between two plain lines.
    """

    def __init__(
        self, *, steps: int, console: Console | None = None, line_every_s: float = 15.0
    ) -> None:
        self.steps = steps
        self.console = console if console is not None else Console(stderr=True)
        self.line_every_s = line_every_s
        self._volumes = 0
        self._loss: float | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Start the clock."""
        self._start_step = trainer.global_step
        self._start = self._last_line = self._last_log = time.perf_counter()
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        if self.console.is_terminal and trainer.is_global_zero:
            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[figures]}"),
                console=self.console,
            )  # fmt: skip
            self._task = self._bar.add_task(
                "training", total=self.steps, completed=self._start_step, figures=""
            )
            self._bar.start()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,  # noqa: ARG002 Lightning's signature
    ) -> None:
        """Count the volumes of a batch and show the state."""
        self._volumes += len(batch.volumes) * trainer.world_size
        now = time.perf_counter()
        rate = self._volumes / max(now - self._start, 1e-9)
        done = trainer.global_step - self._start_step
        seconds_left = (now - self._start) / max(done, 1) * (self.steps - trainer.global_step)
        if trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            pl_module.log("volumes_per_s", rate, batch_size=1)
            self._loss = float(outputs["loss"])
        loss = "" if self._loss is None else f"loss {self._loss:.4f}  "
        figures = (
            f"step {trainer.global_step}/{self.steps}  {loss}{rate:.2f} volumes/s  "
            f"{_clock(seconds_left)} left"
        )
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=trainer.global_step, figures=figures)
        elif trainer.is_global_zero and now - self._last_line >= self.line_every_s:
            self._last_line = now
            self.console.print(figures, highlight=False)

    def on_train_end(self, *_: Any) -> None:
        """Take the bar down."""
        if self._bar is not None:
            self._bar.stop()

    def on_exception(self, *_: Any) -> None:
        """Take the bar down, so that the message has a line of its own."""
        if getattr(self, "_bar", None) is not None:
            self.on_train_end()


def _clock(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
