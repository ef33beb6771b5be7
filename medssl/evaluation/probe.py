"""What frozen features know of a target: nearest neighbours and a linear model.

Both are fitted on some patients and asked about the rest, in turn, so that every case is predicted
once by a model that has never seen its patient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from medssl.errors import DatasetError
from medssl.evaluation.bootstrap import Interval, statistic_intervals
from medssl.evaluation.metrics import classification_scores
from medssl.types import IntArray

__all__ = ["REGRESSION_SCORES", "ProbeResult", "probe_classes", "probe_numbers"]

Float64 = npt.NDArray[np.float64]
Kind = Literal["knn", "linear"]
ProbeResult = dict[str, dict[str, Interval]]
"""Probe (``knn``, ``linear``) to score to its value and interval."""

REGRESSION_SCORES = ("r2", "mean_absolute_error")


def probe_classes(
    features: Float64,
    targets: Sequence[str],
    patients: Sequence[str],
    *,
    folds: int = 5,
    neighbours: int = 5,
    repeats: int = 1000,
    seed: int = 0,
) -> ProbeResult:
    """Predict classes from features, with each patient held out once.

    Args:
        features: ``(n, d)``, one row a case.
        targets: Class of each case.
        patients: Patient of each case; all cases of a patient are held out together.
        folds: Number of parts the patients are split into; fewer if a class has fewer patients.
        neighbours: How many cases vote in the nearest-neighbour probe.
        repeats: Bootstrap draws for the intervals.
        seed: Decides the parts and the draws.

    Returns:
        The scores of :data:`~medssl.evaluation.metrics.CLASSIFICATION_SCORES` for each probe.

    Raises:
        DatasetError: If there are not two classes with two patients each.
    """
    classes, truth = np.unique(np.asarray(targets, dtype=str), return_inverse=True)
    groups = np.asarray(patients, dtype=str)
    counts = [len(set(groups[truth == index])) for index in range(len(classes))]
    if len(classes) < 2 or min(counts) < 2:
        raise DatasetError(
            f"a probe needs at least two classes with two patients each; found "
            f"{dict(zip(classes.tolist(), counts, strict=True))} (class: patients)"
        )
    split = StratifiedGroupKFold(min(folds, *counts), shuffle=True, random_state=seed)
    parts = list(split.split(features, truth, groups))
    result: ProbeResult = {}
    for kind in ("knn", "linear"):
        probabilities = np.zeros((len(truth), len(classes)))
        for fit, ask in parts:
            model = _classifier(kind, min(neighbours, len(fit))).fit(features[fit], truth[fit])
            # A class whose patients all landed in the held-out part has no column of its own.
            probabilities[np.ix_(ask, model.classes_)] = model.predict_proba(features[ask])
        result[kind] = statistic_intervals(
            partial(_class_scores, truth, probabilities),
            len(truth),
            patients=patients,
            repeats=repeats,
            seed=seed,
        )
    return result


def probe_numbers(
    features: Float64,
    targets: Sequence[float],
    patients: Sequence[str],
    *,
    folds: int = 5,
    neighbours: int = 5,
    repeats: int = 1000,
    seed: int = 0,
) -> ProbeResult:
    """Predict numbers, such as an age, from features, with each patient held out once.

    Args:
        features: ``(n, d)``, one row a case.
        targets: Number of each case.
        patients: Patient of each case; all cases of a patient are held out together.
        folds: Number of parts the patients are split into; fewer if there are fewer patients.
        neighbours: How many cases are averaged in the nearest-neighbour probe.
        repeats: Bootstrap draws for the intervals.
        seed: Decides the parts and the draws.

    Returns:
        The scores of :data:`REGRESSION_SCORES` for each probe.

    Raises:
        DatasetError: If there are fewer than three patients.
    """
    truth = np.asarray(targets, dtype=np.float64)
    groups = np.asarray(patients, dtype=str)
    count = len(set(patients))
    if count < 3:
        raise DatasetError(f"a probe of numbers needs at least three patients; found {count}")
    split = GroupKFold(min(folds, count), shuffle=True, random_state=seed)
    parts = list(split.split(features, truth, groups))
    result: ProbeResult = {}
    for kind in ("knn", "linear"):
        guesses = np.zeros(len(truth))
        for fit, ask in parts:
            model = _regressor(kind, min(neighbours, len(fit))).fit(features[fit], truth[fit])
            guesses[ask] = model.predict(features[ask])
        result[kind] = statistic_intervals(
            partial(_number_scores, truth, guesses),
            len(truth),
            patients=patients,
            repeats=repeats,
            seed=seed,
        )
    return result


def _classifier(kind: Kind, neighbours: int) -> Pipeline:
    if kind == "knn":
        return make_pipeline(Normalizer(), KNeighborsClassifier(neighbours, weights="distance"))
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=5000))


def _regressor(kind: Kind, neighbours: int) -> Pipeline:
    if kind == "knn":
        return make_pipeline(Normalizer(), KNeighborsRegressor(neighbours, weights="distance"))
    return make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 7)))


def _class_scores(truth: IntArray, probabilities: Float64, rows: IntArray) -> dict[str, float]:
    return classification_scores(truth[rows], probabilities[rows])


def _number_scores(truth: Float64, guesses: Float64, rows: IntArray) -> dict[str, float]:
    """Return the share of variance explained, NaN where there is none, and the mean error."""
    errors = guesses[rows] - truth[rows]
    variance = float(truth[rows].var())
    return {
        "r2": 1.0 - float((errors**2).mean()) / variance if variance > 0 else math.nan,
        "mean_absolute_error": float(np.abs(errors).mean()),
    }
