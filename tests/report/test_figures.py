"""Charts draw what they are given."""

from __future__ import annotations

import numpy as np
import pytest

from medssl.report.figures import histogram, running_mean
from medssl.report.paired import paired_dice


@pytest.mark.parametrize("count", [1, 2, 13, 200])
def test_a_running_mean_keeps_length_ends_and_straight_lines(count: int) -> None:
    line = np.linspace(3, 5, count)
    smooth = running_mean(line)
    assert smooth == pytest.approx(line)
    noisy = running_mean(np.random.default_rng(0).normal(size=count))
    assert len(noisy) == count


def test_a_running_mean_is_a_mean_of_neighbours() -> None:
    values = np.random.default_rng(1).random(80)
    assert running_mean(values)[40] == pytest.approx(values[38:43].mean())


def test_histograms_take_one_value_many_times() -> None:
    svg = histogram([("CT", np.full(9, 1.5))], x_label="mm", y_label="volumes", alt="all alike")
    assert 'aria-label="all alike"' in svg
    assert ">volumes<" in svg


def test_paired_dice_says_the_means_and_the_difference() -> None:
    scratch = np.array([0.70, 0.80, 0.75])
    svg = paired_dice(scratch, scratch + 0.05)
    assert "Mean Dice 0.750 from scratch, 0.800 pretrained" in svg
    assert ">+0.050<" in svg
    assert "var(--second)" not in svg
    worse = paired_dice(scratch, scratch - 0.05)
    assert ">\u22120.050<" in worse
    assert "var(--second)" in worse
