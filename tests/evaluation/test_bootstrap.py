"""Intervals: seeded, over patients, and as wide as theory says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from medssl.evaluation.bootstrap import mean_interval, paired_difference, statistic_intervals


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).normal(size=30)
    first, again = (mean_interval(values, seed=3) for _ in range(2))
    assert first == again
    assert mean_interval(values, seed=4).low != first.low


def test_the_interval_is_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(1).normal(5.0, 2.0, size=400)
    found = mean_interval(values, repeats=4000)
    half = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.02)
    assert found.high == pytest.approx(values.mean() + half, abs=0.02)


def test_means_agree_with_the_general_statistic() -> None:
    values = np.random.default_rng(2).random(24)
    patients = [f"p{i // 3}" for i in range(24)]
    fast = mean_interval(values, patients=patients, seed=5)
    slow = statistic_intervals(
        lambda rows: {"mean": values[rows].mean()}, 24, patients=patients, seed=5
    )["mean"]
    assert (fast.low, fast.high) == pytest.approx((slow.low, slow.high))


def test_scans_of_one_patient_are_drawn_together() -> None:
    each = np.random.default_rng(3).normal(size=12)
    values = np.repeat(each, 10)
    patients = [f"p{i:02d}" for i in range(12) for _ in range(10)]
    alone = mean_interval(values)
    grouped = mean_interval(values, patients=patients)
    single = mean_interval(each)
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)
    assert (grouped.low, grouped.high) == pytest.approx((single.low, single.high))


def test_pairs_tell_apart_what_separate_intervals_do_not() -> None:
    generator = np.random.default_rng(4)
    hardness = generator.normal(0.8, 0.1, size=20)
    scratch = hardness + generator.normal(0, 0.005, 20)
    pretrained = scratch + 0.01
    before, after = mean_interval(scratch), mean_interval(pretrained)
    gain = paired_difference(pretrained, scratch)
    assert after.low < before.high
    assert 0 < gain.low <= gain.value <= gain.high
    assert gain.value == pytest.approx(0.01)


def test_cases_without_a_value_are_left_out_and_not_counted() -> None:
    found = mean_interval([0.5, math.nan, 0.7, math.nan, 0.6])
    assert found.value == pytest.approx(0.6)
    assert found.cases == 3
    assert 0.5 <= found.low <= found.high <= 0.7
    nothing = mean_interval([math.nan, math.nan])
    assert nothing.cases == 0
    assert math.isnan(nothing.value)


def test_one_patient_has_a_mean_but_no_interval() -> None:
    found = mean_interval([0.4, 0.6], patients=["a", "a"])
    assert found.value == pytest.approx(0.5)
    assert math.isnan(found.low)


def test_draws_without_a_value_are_left_out() -> None:
    def statistics(rows: np.ndarray) -> dict[str, float]:
        return {"mean": float(rows.mean()) if len(set(rows)) > 1 else math.nan}

    found = statistic_intervals(statistics, 3, repeats=500)["mean"]
    assert 0 <= found.low < found.high <= 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patients": ["a"]}, "patients"),
        ({"repeats": 0}, "repeats"),
        ({"level": 1.0}, "level"),
    ],
)
def test_senseless_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mean_interval([0.1, 0.2, 0.3], **options)
    with pytest.raises(ValueError, match="pairs"):
        paired_difference([0.1], [0.1, 0.2])
