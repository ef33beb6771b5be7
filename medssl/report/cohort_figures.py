"""Charts of a cohort: the verdicts, the patients, and how bright the volumes are."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from medssl.report.figures import ACCENT, FAINT, INK, MUTED, SECOND, STYLE, to_svg
from medssl.report.numbers import count, short

__all__ = ["Bar", "Levels", "bars", "levels", "patients"]

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

BINS = 48

FEWEST_PLACES = 8
"""Few bars leave room beside them rather than being broad."""

FAR = 5.0
"""Values so many times the middle half's width away from it do not stretch the axis."""

WIDE = 30.0
"""Where the larger values are so many times the smaller, the axis grows in proportion."""


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        name: What is counted.
        number: How many.
        colour: One of the page's.
    """

    name: str
    number: int
    colour: str = ACCENT


def bars(items: Sequence[Bar], *, alt: str) -> str:
    """Draw counts as lying bars, each with its number, from top to bottom; return an ``<svg>``."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 0.34 + 0.31 * len(items)), layout="constrained")
        axes = figure.subplots()
        places = np.arange(len(items))
        numbers = [item.number for item in items]
        axes.barh(places, numbers, height=0.62, color=[item.colour for item in items])
        for place, number in zip(places, numbers, strict=True):
            axes.annotate(
                count(number),
                (number, float(place)),
                (6, 0),
                textcoords="offset points",
                va="center",
            )
        axes.set_yticks(places, [item.name for item in items], fontsize=11)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.grid(visible=False)
        axes.spines["bottom"].set_visible(False)
        axes.set_xticks([])
        axes.set_xlim(0, max(numbers) * 1.08)
        axes.invert_yaxis()
        return to_svg(figure, alt)


def patients(volumes: Int64, *, alt: str) -> str:
    """Draw how many patients have how many volumes; return an ``<svg>``.

    Args:
        volumes: Number of volumes of each patient.
        alt: One sentence for those who can't see it.
    """
    names, numbers = _steps(volumes)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 2.6), layout="constrained")
        axes = figure.subplots()
        places = np.arange(len(names))
        axes.bar(places, numbers, width=0.72, color=ACCENT)
        for place, number in zip(places.tolist(), numbers, strict=True):
            if number:
                axes.annotate(
                    count(number),
                    (place, number),
                    (0, 4),
                    textcoords="offset points",
                    ha="center",
                    color=MUTED,
                )
        axes.set_xticks(places, names)
        axes.tick_params(axis="x", length=0)
        axes.set(xlabel="volumes of one patient", ylabel="patients")
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        axes.set_xlim(-0.6, max(len(names), FEWEST_PLACES) - 0.4)
        axes.margins(y=0.12)
        return to_svg(figure, alt)


def _steps(volumes: Int64) -> tuple[list[str], list[int]]:
    """Return names and heights of the bars: one for each number, or doubling steps if many."""
    most = int(volumes.max())
    if most <= 12:
        edges = list(range(1, most + 2))
    else:
        edges = [1, 2, 3, 5]
        while edges[-1] <= most:
            edges.append(2 * edges[-1] - 1)
    numbers, _ = np.histogram(volumes, bins=np.array(edges) - 0.5)
    pairs = itertools.pairwise(edges)
    names = [str(low) if high - low == 1 else f"{low}\u2013{high - 1}" for low, high in pairs]
    return names, numbers.tolist()


@dataclass(frozen=True)
class Levels:
    """A drawing of intensities and what it leaves out.

    Attributes:
        svg: The ``<svg>``.
        beyond: How many volumes lie beyond an end of the axis; they are in its outermost bars.
    """

    svg: str
    beyond: int


def levels(
    rows: Sequence[tuple[str, Float64]],
    *,
    x_label: str,
    alt: str,
    marks: Sequence[tuple[float, str]] = (),
    ends: tuple[float, float] | None = None,
) -> Levels:
    """Draw how values are distributed, one row above the other over a common axis.

    Each row has its own height, so that one in which all are alike does not flatten the others.

    Args:
        rows: Name and values of each row, from top to bottom; of the same volumes.
        x_label: Name and unit of the values.
        alt: One sentence for those who can't see it.
        marks: Values to mark, and their names.
        ends: Of the axis; by default where the values end, but for those far from the rest.
    """
    scale = _Scale(_bend(np.concatenate([values for _, values in rows])))
    bent = [scale.bend(values) for _, values in rows]
    low, high = _ends(bent) if ends is None else scale.bend(np.array(ends)).tolist()
    edges = np.linspace(low, high, BINS + 1)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.2, 3.3), layout="constrained")
        axes = figure.subplots()
        for place, values in enumerate(reversed(bent)):
            heights, _ = np.histogram(np.clip(values, low, high), bins=edges)
            scaled = 0.86 * heights / max(int(heights.max()), 1)
            colour = SECOND if place == 1 else ACCENT
            axes.stairs(place + scaled, edges, baseline=place, fill=True, color=colour)
            axes.axhline(place, color=FAINT, linewidth=0.8)
        _mark(axes, marks, len(rows))
        axes.grid(visible=False)
        axes.spines["bottom"].set_visible(False)
        axes.set(xlabel=x_label, xlim=(low, high), ylim=(0, len(rows) + (0.25 if marks else 0)))
        axes.set_yticks(np.arange(len(rows)) + 0.4, [name for name, _ in reversed(rows)])
        if scale.width is not None:
            ticks = scale.ticks(low, high)
            axes.set_xticks(scale.bend(np.array(ticks)).tolist(), [short(tick) for tick in ticks])
        beyond = int(np.any([(v < low) | (v > high) for v in bent], axis=0).sum())
        return Levels(to_svg(figure, alt), beyond)


@dataclass(frozen=True)
class _Scale:
    """An axis that is even up to a width and grows in proportion from there on."""

    width: float | None

    def bend(self, values: Float64) -> Float64:
        return values if self.width is None else np.arcsinh(values / self.width)

    def ticks(self, low: float, high: float) -> list[float]:
        """Return zero and powers of ten between the bent ends, not too close to each other."""
        width = self.width or 1.0
        first = int(np.floor(np.log10(width)))
        chosen: list[float] = []
        for value in (0.0, *(10.0**power for power in range(first, first + 16))):
            place = float(np.arcsinh(value / width))
            apart = place - float(np.arcsinh(chosen[-1] / width)) if chosen else np.inf
            if low <= place <= high and apart > 0.09 * (high - low):
                chosen.append(value)
        return chosen


def _ends(rows: Sequence[Float64]) -> tuple[float, float]:
    """Return the ends of the axis: all values, but for those absurdly far from the rest."""
    ends = []
    for values in rows:
        first, third = np.percentile(values, (25, 75))
        reach = FAR * (third - first) if third > first else np.ptp(values)
        ends += [max(values.min(), first - reach), min(values.max(), third + reach)]
    low, high = min(ends), max(ends)
    margin = 0.02 * (high - low) or max(abs(high) * 0.1, 1.0)
    return float(low - margin), float(high + margin)


def _bend(values: Float64) -> float | None:
    """Return where an axis turns from even to proportional; None if it stays even."""
    sizes = np.abs(values[values != 0])
    if not sizes.size:
        return None
    small, large = np.percentile(sizes, (5, 95))
    return float(small) if large > WIDE * small and values.min() >= 0 else None


def _mark(axes: Axes, marks: Sequence[tuple[float, str]], top: float) -> None:
    for value, name in marks:
        axes.vlines(value, 0, top, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        axes.annotate(
            name,
            (value, top + 0.24),
            (0, 0),
            textcoords="offset points",
            va="top",
            ha="center",
            color=MUTED,
            fontsize=9,
        )
