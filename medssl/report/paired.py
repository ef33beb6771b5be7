"""One chart: the same held-out subjects under two trainings."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medssl.evaluation.bootstrap import Interval, mean_interval, paired_difference
from medssl.report.figures import ACCENT, INK, MUTED, SECOND, STYLE, to_svg
from medssl.report.numbers import fixed, signed

__all__ = ["paired_dice"]

Float64 = npt.NDArray[np.float64]


def paired_dice(
    scratch: Float64,
    pretrained: Float64,
    *,
    patients: Sequence[str] | None = None,
    repeats: int = 1000,
    seed: int = 0,
    names: tuple[str, str] = ("from scratch", "pretrained"),
) -> str:
    """Draw the Dice of the same subjects under two trainings, joined; return an ``<svg>`` element.

    On the right stands the mean difference with its interval: the training matters where that does
    not reach zero.

    Args:
        scratch: Dice of each subject with the first training.
        pretrained: Dice of the same subjects, in the same order, with the second.
        patients: Patient of each subject, for the intervals.
        repeats: Bootstrap draws.
        seed: Of the draws.
        names: What the two trainings are called.
    """
    means = [
        mean_interval(values, patients=patients, repeats=repeats, seed=seed)
        for values in (scratch, pretrained)
    ]
    gain = paired_difference(pretrained, scratch, patients=patients, repeats=repeats, seed=seed)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 4.0), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(2.3, 1))
        _draw_pairs(left, scratch, pretrained, means, names)
        _draw_difference(right, pretrained - scratch, gain)
        alt = (
            f"Mean Dice {fixed(means[0].value)} {names[0]}, {fixed(means[1].value)} {names[1]}; "
            f"mean paired difference {signed(gain.value)}."
        )
        return to_svg(figure, alt)


def _draw_pairs(
    axes: Axes,
    before: Float64,
    after: Float64,
    means: Sequence[Interval],
    names: tuple[str, str],
) -> None:
    for pair in zip(before, after, strict=True):
        colour = ACCENT if pair[1] >= pair[0] else SECOND
        axes.plot((0, 1), pair, color=colour, alpha=0.45, linewidth=1.1)
        axes.plot((0, 1), pair, "o", color=colour, markersize=4, alpha=0.75, markeredgewidth=0)
    for place, mean in zip((-0.14, 1.14), means, strict=True):
        _whisker(axes, place, mean, fixed(mean.value), side="right" if place < 0 else "left")
    axes.set_xlim(-0.45, 1.45)
    axes.set_xticks((0, 1), names)
    axes.tick_params(axis="x", labelcolor=INK, labelsize=11, bottom=False)
    axes.set_ylabel("Dice of one held-out subject")


def _draw_difference(axes: Axes, difference: Float64, gain: Interval) -> None:
    axes.axhline(0, color=MUTED, linewidth=1)
    offsets = np.linspace(-0.12, 0.12, len(difference)) if len(difference) > 1 else np.zeros(1)
    colours = [ACCENT if value >= 0 else SECOND for value in difference]
    axes.scatter(offsets, difference, s=18, c=colours, alpha=0.6, linewidths=0)
    _whisker(axes, 0.3, gain, signed(gain.value), side="left")
    axes.set_xlim(-0.4, 0.75)
    axes.set_xticks((0.0,), ("difference",))
    axes.tick_params(axis="x", labelcolor=INK, labelsize=11, bottom=False)


def _whisker(axes: Axes, place: float, mean: Interval, text: str, *, side: str) -> None:
    """Draw a mean as a diamond, its interval as a line, its number on the far side."""
    if not np.isnan(mean.low):
        axes.plot((place, place), (mean.low, mean.high), color=INK, linewidth=2)
    axes.plot([place], [mean.value], "D", color=INK, markersize=6)
    axes.annotate(
        text,
        (place, mean.value),
        xytext=(9 if side == "left" else -9, 0),
        textcoords="offset points",
        ha=side,
        va="center",
        weight="bold",
    )
