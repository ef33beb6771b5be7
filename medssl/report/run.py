"""What a run folder says of itself: its metrics, its configuration, its record."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from medssl.report.figures import Series
from medssl.report.numbers import duration
from medssl.report.page import Block, Details, Facts

__all__ = ["RunFolder", "curve"]

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RunFolder:
    """The files of a run, read tolerantly: an old or broken-off run still gets a report.

    Attributes:
        metrics: Name of each figure to its steps and values, those that were logged.
        configuration: Sections of ``config.yaml``.
        configuration_text: The file itself.
        record: ``run.json``.
        manifest: ``export/manifest.json``.
    """

    metrics: Mapping[str, tuple[Float64, Float64]]
    configuration: Mapping[str, Any]
    configuration_text: str
    record: Mapping[str, Any]
    manifest: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Read a run folder; files that are not there count as empty."""
        text = _text(path / "config.yaml")
        return cls(
            metrics=_metrics(path / "metrics.csv"),
            configuration=yaml.safe_load(text) or {},
            configuration_text=text,
            record=json.loads(_text(path / "run.json") or "{}"),
            manifest=json.loads(_text(path / "export" / "manifest.json") or "{}"),
        )

    def section(self, name: str) -> Mapping[str, Any]:
        """Return a section of the configuration, empty if there is none."""
        found = self.configuration.get(name)
        return found if isinstance(found, Mapping) else {}

    def last(self, name: str) -> float | None:
        """Return the last value of a figure, or none."""
        return float(self.metrics[name][1][-1]) if name in self.metrics else None

    def blocks(self) -> tuple[Block, ...]:
        """Return what is needed to do the run again: versions, hashes, configuration."""
        rows = [(f"SHA-256 of {name}", str(value)) for name, value in self._hashes().items()]
        if self.record.get("seconds"):
            rows.insert(0, ("Took", duration(float(self.record["seconds"]))))
        rows += [(name, str(value)) for name, value in self.record.get("versions", {}).items()]
        blocks: list[Block] = [Facts(tuple(rows))] if rows else []
        if self.configuration_text:
            blocks.append(Details("The whole configuration", self.configuration_text.strip()))
        return tuple(blocks)

    def _hashes(self) -> dict[str, Any]:
        hashes = dict(self.record.get("sha256", {}))
        file = self.manifest.get("file", {})
        if isinstance(file, Mapping) and "sha256" in file:
            hashes.setdefault("the exported weights", file["sha256"])
        return hashes


def curve(run: RunFolder, name: str, *, label: str = "", smooth: bool = True) -> Series | None:
    """Return a figure over the steps, or none if it was never logged.

    Args:
        run: Where it was logged.
        name: Its column in ``metrics.csv``.
        label: For the legend.
        smooth: Whether noise is to be averaged away.
    """
    if name not in run.metrics:
        return None
    steps, values = run.metrics[name]
    return Series(label, steps, values, smooth=smooth)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _metrics(path: Path) -> dict[str, tuple[Float64, Float64]]:
    """Return steps and values of each column, without rows in which it is empty or not finite."""
    if not path.is_file():
        return {}
    columns: dict[str, tuple[list[float], list[float]]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            # Steps are logged from 0; people count them from 1.
            step = _number(row.get("step")) + 1
            for name, text in row.items():
                value = _number(text)
                if name in (None, "step", "epoch") or not np.isfinite((step, value)).all():
                    continue
                steps, values = columns.setdefault(name, ([], []))
                steps.append(step)
                values.append(value)
    return {name: (np.array(steps), np.array(values)) for name, (steps, values) in columns.items()}


def _number(text: object) -> float:
    try:
        return float(str(text))
    except ValueError:
        return float("nan")
