"""How good a task is on whole volumes it was not trained on."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning import Callback, LightningModule, Trainer

from medssl.cohort.datasets import Case
from medssl.io.atomic import atomic_path
from medssl.tasks.base import LabelledSource, Task, whole

__all__ = ["Validator", "mean_scores", "score_cases", "write_scores"]


def score_cases(
    task: Task, store: LabelledSource, cases: Sequence[Case]
) -> dict[str, dict[str, float]]:
    """Answer for whole volumes and return the figures of each case.

    Args:
        task: What answers; its running mean does if there is one.
        store: Prepared volumes, with masks if the task reads them.
        cases: What to answer for.

    Returns:
        For each case id the figures by name, see :meth:`~medssl.tasks.base.Task.score`.
    """
    figures = {}
    for case in cases:
        box = whole(store, case.id)
        mask = store.read_label(case.id, *box) if task.reads_masks else np.empty(0, np.int16)
        figures[case.id] = task.score(task.answer(store, case.id), case, mask)
    return figures


def write_scores(path: Path, figures: Mapping[str, Mapping[str, float]]) -> None:
    """Write one row a case; a figure that has no meaning for a case is left empty."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        names = list(next(iter(figures.values()), {}))
        writer = csv.DictWriter(file, ["id", *names])
        writer.writeheader()
        for case, scores in figures.items():
            known = {n: f"{value:.6f}" for n, value in scores.items() if not math.isnan(value)}
            writer.writerow({"id": case, **known})


def mean_scores(figures: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each figure over the cases that have it."""
    names = next(iter(figures.values()), {})
    means = {}
    for name in names:
        known = [case[name] for case in figures.values() if not math.isnan(case[name])]
        if known:
            means[name] = float(np.mean(known))
    return means


class Validator(Callback):
    """Measures a task on held-out volumes a few times during a run and at its end.

    Args:
        store: Where the volumes are.
        cases: The held-out cases.
        steps: Optimiser steps of the whole run.
        times: How often to measure, evenly spread, the last time after the last step.

    Attributes:
        figures: The figures of each case at the last look.
    """

    def __init__(
        self, store: LabelledSource, cases: Sequence[Case], *, steps: int, times: int = 4
    ) -> None:
        self.store = store
        self.cases = list(cases)
        self.looks = {max(1, round(steps * look / times)) for look in range(1, times + 1)}
        self.figures: dict[str, dict[str, float]] = {}
        self._seen = -1

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Look, when one is due."""
        step = trainer.global_step
        if step not in self.looks or step == self._seen or not isinstance(pl_module, Task):
            return
        self._seen = step
        self.figures = score_cases(pl_module, self.store, self.cases)
        means = {f"validation_{name}": value for name, value in mean_scores(self.figures).items()}
        if trainer.logger is not None:
            trainer.logger.log_metrics(means, step=step - 1)
