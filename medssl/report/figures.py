"""Charts as inline SVG whose colours are the page's.

Matplotlib draws with the colours of the light page; each is then replaced by the name of a colour
of the style sheet. Text stays text, in the reader's own font.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

__all__ = [
    "ACCENT",
    "INK",
    "MUTED",
    "SECOND",
    "STYLE",
    "Series",
    "curves",
    "histogram",
    "to_svg",
]

Float64 = npt.NDArray[np.float64]

INK, MUTED, RULE, FAINT, PAPER = "#1d2830", "#5d6a73", "#ddd9cf", "#b9b5aa", "#fcfbf8"
ACCENT, SECOND, THIRD = "#17697a", "#b2671d", "#7b5190"
CYCLE = (ACCENT, SECOND, THIRD, MUTED)
ROLES = {
    INK: "--ink",
    MUTED: "--muted",
    RULE: "--rule",
    FAINT: "--faint",
    PAPER: "--paper",
    ACCENT: "--accent",
    SECOND: "--second",
    THIRD: "--third",
}
STYLE: Any = {  # matplotlib's own types list every key it knows
    "axes.axisbelow": True,
    "axes.edgecolor": FAINT,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": MUTED,
    "axes.labelsize": 10,
    "axes.prop_cycle": cycler(color=CYCLE),
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "font.size": 10,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.9,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",
    "svg.hashsalt": "medssl",
    "text.color": INK,
    "xtick.color": FAINT,
    "xtick.labelcolor": MUTED,
    "ytick.color": FAINT,
    "ytick.labelcolor": MUTED,
    "ytick.left": False,
}
SIZE_IN = (6.2, 3.3)


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        name: For the legend; empty if it needs none.
        x: Where it was measured.
        y: What was measured.
        smooth: Whether to draw a running mean over a faint line of the raw values.
    """

    name: str
    x: Float64
    y: Float64
    smooth: bool = False


@contextmanager
def _drawing(size_in: tuple[float, float] = SIZE_IN) -> Iterator[tuple[Figure, Axes]]:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size_in, layout="constrained")
        yield figure, figure.subplots()


def curves(
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    alt: str,
    log_y: bool = False,
    level: tuple[float, str] | None = None,
) -> str:
    """Draw lines over a common axis and return an ``<svg>`` element.

    Args:
        series: The lines; more than one gets a legend.
        x_label: Name and unit of the horizontal axis.
        y_label: Name and unit of the vertical axis.
        alt: One sentence for those who can't see it.
        log_y: Whether the vertical axis is logarithmic.
        level: A height to mark, and its name.
    """
    with _drawing() as (figure, axes):
        for line, colour in zip(series, CYCLE * len(series), strict=False):
            if line.smooth and len(line.y) > 12:
                axes.plot(line.x, line.y, color=colour, alpha=0.28, linewidth=0.9)
                axes.plot(line.x, running_mean(line.y), color=colour, label=line.name)
            else:
                marker = "o" if len(line.y) < 12 else ""
                axes.plot(line.x, line.y, color=colour, marker=marker, ms=4, label=line.name)
        if level is not None:
            axes.axhline(level[0], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
            place = axes.get_yaxis_transform()
            axes.text(1, level[0], level[1], transform=place, ha="right", va="bottom", color=MUTED)
        axes.set(xlabel=x_label, ylabel=y_label)
        if log_y:
            axes.set_yscale("log")
        axes.margins(x=0.01)
        if len(series) > 1:
            axes.legend(loc="best")
        return to_svg(figure, alt)


def running_mean(values: Float64) -> Float64:
    """Return a centred running mean over about a twentieth of the values, narrower at the ends."""
    half = max(1, len(values) // 40)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    # Symmetric windows: a lopsided one would bend the curve at both ends.
    reach = np.minimum(half, np.minimum(index, index[::-1]))
    means: Float64 = (sums[index + reach + 1] - sums[index - reach]) / (2 * reach + 1)
    return means


def histogram(
    groups: Sequence[tuple[str, Float64]],
    *,
    x_label: str,
    y_label: str,
    alt: str,
    log_x: bool = False,
) -> str:
    """Draw how values are distributed in each group, on common bins; return an ``<svg>`` element.

    Args:
        groups: Name and values of each group; the bars are stacked.
        x_label: Name and unit of the values.
        y_label: What is counted.
        alt: One sentence for those who can't see it.
        log_x: Whether the bins grow in proportion.
    """
    with _drawing() as (figure, axes):
        every = np.concatenate([values for _, values in groups])
        low, high = float(every.min()), float(every.max())
        if high - low < 1e-9:
            low, high = low * 0.9 - 1e-3, high * 1.1 + 1e-3
        bins = min(30, max(8, int(len(every) ** 0.5) * 2))
        edges = np.geomspace(low, high, bins) if log_x else np.linspace(low, high, bins)
        colours = (CYCLE * len(groups))[: len(groups)]
        names = [name for name, _ in groups]
        axes.hist(
            [values for _, values in groups],
            bins=edges.tolist(),
            stacked=True,
            color=colours,
            label=names,
            rwidth=0.92,
        )
        axes.set(xlabel=x_label, ylabel=y_label)
        if log_x:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        if len(groups) > 1:
            axes.legend(loc="best")
        return to_svg(figure, alt)


def to_svg(figure: Figure, alt: str) -> str:
    """Return a figure as an ``<svg>`` element that belongs to the page it stands in."""
    buffer = io.StringIO()
    empty = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=empty)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r"; font-family: [^;\"]*", "", text)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    for colour, role in ROLES.items():
        text = text.replace(colour, f"var({role})")
    return text.replace("<svg", f'<svg role="img" aria-label="{html.escape(alt)}"', 1)
