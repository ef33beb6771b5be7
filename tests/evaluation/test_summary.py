"""Means over labels, cases and patients, and their way through JSON."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from medssl.evaluation.metrics import LabelScores
from medssl.evaluation.summary import as_interval, case_means, summarise_classes, summarise_masks


def scores(dice: float) -> LabelScores:
    return LabelScores(dice, dice, 1.0, 0.0, 0.0, 1.0, 1.0)


def test_a_label_that_a_case_lacks_takes_no_part_in_its_mean() -> None:
    cases = {
        "a": {"liver": scores(0.9), "spleen": scores(0.7)},
        "b": {"liver": scores(0.6), "spleen": scores(math.nan)},
    }
    result = summarise_masks(cases, patients=None, repeats=50, seed=0, settings={})
    assert case_means(result) == pytest.approx({"a": 0.8, "b": 0.6})
    assert result["mean"]["dice"]["value"] == pytest.approx(0.7)
    assert result["labels"]["spleen"]["dice"]["cases"] == 1
    assert result["cases"][1]["labels"]["spleen"]["dice"] is None


def test_results_survive_json() -> None:
    cases = {str(i): {"liver": scores(i / 10)} for i in range(5)}
    result = summarise_masks(cases, patients=list("aabbc"), repeats=50, seed=0, settings={"x": 1})
    again = json.loads(json.dumps(result, allow_nan=False))
    assert again == result
    assert as_interval(again["mean"]["dice"]).value == pytest.approx(0.2)
    assert result["settings"] == {"x": 1, "bootstrap": 50, "seed": 0, "level": 0.95}


def test_one_case_has_no_interval_but_is_written() -> None:
    result = summarise_masks(
        {"a": {"l": scores(0.5)}}, patients=None, repeats=5, seed=0, settings={}
    )
    assert result["mean"]["dice"] == {"value": 0.5, "low": None, "high": None, "cases": 1}


def test_classes_are_scored_with_intervals() -> None:
    probabilities = np.array([[0.8, 0.2], [0.3, 0.7], [0.6, 0.4], [0.1, 0.9]] * 5)
    result = summarise_classes(
        [str(i) for i in range(20)],
        np.array([0, 1, 0, 1] * 5),
        probabilities,
        classes=("well", "ill"),
        patients=None,
        repeats=50,
        seed=0,
    )
    assert result["mean"]["auroc"]["value"] == 1.0
    assert result["cases"][1] == {
        "id": "1",
        "target": "ill",
        "probabilities": {"well": 0.3, "ill": 0.7},
    }
    json.dumps(result, allow_nan=False)
