"""How sure a mean is: percentile bootstrap over patients, seeded and repeatable.

Several scans of one patient are not independent, so patients are drawn, and all their cases come
along.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medssl.sampling.counter import rng

__all__ = ["Interval", "mean_interval", "paired_difference", "statistic_intervals"]

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A number and the range it would fall into had other patients been scanned.

    Attributes:
        value: The number itself, from all cases; NaN if no case has one.
        low: Lower end of the interval; NaN with fewer than two patients.
        high: Upper end of the interval; NaN with fewer than two patients.
        cases: How many cases have a value.
    """

    value: float
    low: float
    high: float
    cases: int


def mean_interval(
    values: Sequence[float] | Float64,
    *,
    patients: Sequence[str] | None = None,
    repeats: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return the mean of the cases that have a value, with its interval.

    Args:
        values: One number a case; NaN where a case has none.
        patients: Patient of each case; without it every case is its own patient.
        repeats: How often patients are drawn anew.
        level: Share of the draws inside the interval.
        seed: The same seed gives the same interval.

    Raises:
        ValueError: If lengths differ, or ``repeats`` or ``level`` make no sense.
    """
    numbers = np.asarray(values, dtype=np.float64)
    groups = _groups(len(numbers), patients)
    known = ~np.isnan(numbers)
    cases = int(known.sum())
    if not cases:
        return Interval(math.nan, math.nan, math.nan, 0)
    count = int(groups.max()) + 1
    sums = np.bincount(groups[known], weights=numbers[known], minlength=count)
    weights = np.bincount(groups[known], minlength=count)
    drawn = _draws(np.flatnonzero(weights), repeats, seed)
    means = sums[drawn].sum(axis=1) / weights[drawn].sum(axis=1)
    return _interval(float(numbers[known].mean()), means, level, cases, drawn.shape[1])


def paired_difference(
    first: Sequence[float] | Float64,
    second: Sequence[float] | Float64,
    *,
    patients: Sequence[str] | None = None,
    repeats: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return the mean of ``first - second`` over the same cases, with its interval.

    Pairing removes what makes a case hard for both, so the interval is far narrower than two
    intervals held side by side. Cases that lack one of the two values are left out.

    Args:
        first: One number a case.
        second: One number for each of the same cases, in the same order.
        patients: Patient of each case; without it every case is its own patient.
        repeats: How often patients are drawn anew.
        level: Share of the draws inside the interval.
        seed: The same seed gives the same interval.

    Raises:
        ValueError: If lengths differ, or ``repeats`` or ``level`` make no sense.
    """
    if len(first) != len(second):
        raise ValueError(
            f"{len(first)} and {len(second)} values are not pairs; give both for the same cases"
        )
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    return mean_interval(difference, patients=patients, repeats=repeats, level=level, seed=seed)


def statistic_intervals(
    statistics: Callable[[npt.NDArray[np.int64]], Mapping[str, float]],
    cases: int,
    *,
    patients: Sequence[str] | None = None,
    repeats: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return any statistics of the cases with their intervals, such as an AUROC.

    Draws for which a statistic is NaN (a class was not drawn) are left out of its interval.

    Args:
        statistics: Takes the positions of the drawn cases, with repetition, and returns numbers by
            name, always the same names.
        cases: How many cases there are, at least one.
        patients: Patient of each case; without it every case is its own patient.
        repeats: How often patients are drawn anew.
        level: Share of the draws inside the interval.
        seed: The same seed gives the same intervals.

    Raises:
        ValueError: If lengths differ, or ``repeats`` or ``level`` make no sense.
    """
    groups = _groups(cases, patients)
    members = [np.flatnonzero(groups == index) for index in range(int(groups.max()) + 1)]
    drawn = _draws(np.arange(len(members)), repeats, seed)
    outcomes = [statistics(np.concatenate([members[index] for index in row])) for row in drawn]
    found = {}
    for name, value in statistics(np.arange(cases)).items():
        numbers = np.array([outcome[name] for outcome in outcomes], dtype=np.float64)
        known = numbers[~np.isnan(numbers)]
        found[name] = _interval(float(value), known, level, cases, len(members))
    return found


def _groups(cases: int, patients: Sequence[str] | None) -> npt.NDArray[np.int64]:
    if patients is None:
        return np.arange(cases)
    if len(patients) != cases:
        raise ValueError(f"{len(patients)} patients for {cases} cases; name one for each case")
    index: npt.NDArray[np.int64] = np.unique(np.asarray(patients), return_inverse=True)[1]
    return index


def _draws(members: npt.NDArray[np.int64], repeats: int, seed: int) -> npt.NDArray[Any]:
    """Return ``(repeats, len(members))`` members drawn with replacement."""
    if repeats < 1:
        raise ValueError(f"repeats is {repeats}; expected at least 1")
    drawn: npt.NDArray[Any] = rng(seed).choice(members, size=(repeats, len(members)))
    return drawn


def _interval(value: float, draws: Float64, level: float, cases: int, patients: int) -> Interval:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; expected a share between 0 and 1, such as 0.95")
    if patients < 2 or not len(draws):
        return Interval(value, math.nan, math.nan, cases)
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(draws, [tail, 100.0 - tail])
    return Interval(value, float(low), float(high), cases)
