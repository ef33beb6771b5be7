"""From the scores of cases to what is written and read: means over patients, with intervals.

The mean of a case is over its labels that have a value; the mean of everything is over those of the
cases.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from medssl.evaluation.bootstrap import Interval, mean_interval, statistic_intervals
from medssl.evaluation.metrics import (
    SEGMENTATION_SCORES,
    LabelScores,
    classification_scores,
)
from medssl.types import IntArray

__all__ = [
    "CaseSummary",
    "Evaluation",
    "IntervalRecord",
    "as_interval",
    "as_record",
    "case_means",
    "summarise_classes",
    "summarise_masks",
]

CaseScores = Mapping[str, Mapping[str, LabelScores]]
"""Case id to label name to scores."""


class IntervalRecord(TypedDict):
    """An :class:`~medssl.evaluation.bootstrap.Interval` as JSON: NaN is null."""

    value: float | None
    low: float | None
    high: float | None
    cases: int


class CaseSummary(TypedDict):
    """One case in the JSON of ``evaluate``."""

    id: str
    labels: dict[str, dict[str, float | None]]
    mean: dict[str, float | None]


class Evaluation(TypedDict):
    """What ``evaluate`` returns and writes.

    Attributes:
        task: ``segmentation`` or ``classification``.
        cases: One entry a case; for classification the class and its probabilities.
        labels: Label to score to interval; empty for classification.
        mean: Score to interval, over everything.
        settings: What the numbers depend on.
    """

    task: str
    cases: list[CaseSummary] | list[dict[str, Any]]
    labels: dict[str, dict[str, IntervalRecord]]
    mean: dict[str, IntervalRecord]
    settings: dict[str, Any]


def summarise_masks(
    cases: CaseScores,
    *,
    patients: Sequence[str] | None,
    repeats: int,
    seed: int,
    settings: Mapping[str, Any],
) -> Evaluation:
    """Return scores a case, a label and in the mean, the latter two with intervals.

    Args:
        cases: Scores of each case, all with the same labels.
        patients: Patient of each case in the order of ``cases``; by default each is its own.
        repeats: Bootstrap draws.
        seed: Of the draws.
        settings: Recorded with the result.
    """
    labels = list(next(iter(cases.values())))
    values = {
        name: np.array(
            [[getattr(case[label], name) for label in labels] for case in cases.values()]
        )
        for name in SEGMENTATION_SCORES
    }

    def interval(numbers: npt.NDArray[np.float64]) -> IntervalRecord:
        return as_record(mean_interval(numbers, patients=patients, repeats=repeats, seed=seed))

    means = {name: _row_means(table) for name, table in values.items()}
    return {
        "task": "segmentation",
        "cases": [
            {
                "id": case,
                "labels": {label: _plain(asdict(scores[label])) for label in labels},
                "mean": {name: _finite(means[name][row]) for name in SEGMENTATION_SCORES},
            }
            for row, (case, scores) in enumerate(cases.items())
        ],
        "labels": {
            label: {name: interval(values[name][:, column]) for name in SEGMENTATION_SCORES}
            for column, label in enumerate(labels)
        },
        "mean": {name: interval(means[name]) for name in SEGMENTATION_SCORES},
        "settings": {**settings, "bootstrap": repeats, "seed": seed, "level": 0.95},
    }


def summarise_classes(
    ids: Sequence[str],
    targets: IntArray,
    probabilities: npt.NDArray[np.float64],
    *,
    classes: Sequence[str],
    patients: Sequence[str] | None,
    repeats: int,
    seed: int,
) -> Evaluation:
    """Return the classification scores of a set of cases with intervals.

    Args:
        ids: Id of each case.
        targets: ``(n,)``, index of the true class.
        probabilities: ``(n, classes)``.
        classes: Name of each class.
        patients: Patient of each case; by default each is its own.
        repeats: Bootstrap draws.
        seed: Of the draws.
    """

    def scores(rows: IntArray) -> dict[str, float]:
        return classification_scores(targets[rows], probabilities[rows])

    found = statistic_intervals(scores, len(ids), patients=patients, repeats=repeats, seed=seed)
    return {
        "task": "classification",
        "cases": [
            {
                "id": case,
                "target": classes[target],
                "probabilities": dict(zip(classes, map(float, row), strict=True)),
            }
            for case, target, row in zip(ids, targets, probabilities, strict=True)
        ],
        "labels": {},
        "mean": {name: as_record(interval) for name, interval in found.items()},
        "settings": {"bootstrap": repeats, "seed": seed, "level": 0.95},
    }


def case_means(evaluation: Evaluation, score: str = "dice") -> dict[str, float]:
    """Return the mean score of each case of a segmentation, NaN where it has none."""
    means = {str(case["id"]): case["mean"][score] for case in evaluation["cases"]}
    return {case: math.nan if value is None else float(value) for case, value in means.items()}


def as_interval(record: IntervalRecord) -> Interval:
    """Return an interval read from JSON."""
    value, low, high = (
        math.nan if number is None else number
        for number in (record["value"], record["low"], record["high"])
    )
    return Interval(value, low, high, record["cases"])


def as_record(interval: Interval) -> IntervalRecord:
    """Return an interval as JSON can hold it."""
    return {
        "value": _finite(interval.value),
        "low": _finite(interval.low),
        "high": _finite(interval.high),
        "cases": interval.cases,
    }


def _row_means(table: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the mean of each row over what is not NaN, NaN where nothing is."""
    known = ~np.isnan(table)
    counts = known.sum(axis=1)
    sums = np.where(known, table, 0.0).sum(axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), math.nan)


def _plain(scores: Mapping[str, float]) -> dict[str, float | None]:
    return {name: _finite(value) for name, value in scores.items()}


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
