"""``metrics.csv``: one row a logged step, columns as they come, whole after every write."""

from __future__ import annotations

import csv
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from medssl.io.atomic import atomic_path

__all__ = ["MetricsCsv"]

Row = dict[str, float]


class MetricsCsv(Logger):
    """Writes metrics to a CSV file, and goes on with the same file after a resume.

    Args:
        path: The file.
        resume_step: Rows at or after this step are of a run that is being repeated, and are
            dropped.
    """

    def __init__(self, path: Path, *, resume_step: int = 0) -> None:
        super().__init__()
        self.path = path
        self._rows: dict[int, Row] = {}
        self._columns: list[str] = ["step"]
        if resume_step and path.is_file():
            with path.open(newline="") as file:
                for text in csv.DictReader(file):
                    step = int(text.pop("step"))
                    if step < resume_step:
                        row = {name: float(value) for name, value in text.items() if value}
                        self._add(step, row)
        self._write_all()

    @property
    def name(self) -> str:
        """Name that Lightning asks for."""
        return "metrics"

    @property
    def version(self) -> str:
        """Version that Lightning asks for."""
        return ""

    def _add(self, step: int, values: Row) -> bool:
        new = [name for name in values if name not in self._columns]
        self._columns += new
        fresh = step not in self._rows
        self._rows.setdefault(step, {"step": step}).update(values)
        return fresh and not new

    @rank_zero_only
    def _write_all(self) -> None:
        with atomic_path(self.path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(self._rows.values())

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add the figures of a step; a second call for the same step completes its row."""
        values = {name: float(value) for name, value in metrics.items() if name != "epoch"}
        if not values or step is None:
            return
        if self._add(step, values):
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self._columns).writerow(self._rows[step])
        else:
            self._write_all()

    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Do nothing: the configuration lies in ``config.yaml``."""
