"""The report of a pretraining run: did it learn, did its features stay alive, what was it asked?"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from medssl.methods.base import METHODS, lesson
from medssl.report.figures import curves
from medssl.report.numbers import count, duration, fixed, short
from medssl.report.page import Block, Chart, KeyFigure, Page, Panels, Section
from medssl.report.panels import picture_blocks
from medssl.report.run import RunFolder, curve
from medssl.types import Picture

__all__ = ["PRETEXT", "feature_charts", "loss_charts", "write_pretrain_report"]

PRETEXT = {
    "voco": (
        "Each volume is tiled with base crops. The network sees crops cut at random and must tell, "
        "by the likeness of features alone, how much each overlaps each base: it has to know where "
        "in the body it is."
    ),
    "mae": (
        "Most of each crop is hidden. The encoder sees only the visible cubes, and a small decoder "
        "must rebuild the rest: it has to know what anatomy goes with what."
    ),
    "mae_cnn": (
        "Most of each crop is set to zero. A U-Net must rebuild the hidden cubes from the visible "
        "ones: it has to know what anatomy goes with what."
    ),
}
"""What some methods ask of the network, for readers who do not know it."""

PROBES = {"probe_linear": "linear probe", "probe_knn": "nearest neighbours"}
FIGURES = frozenset(
    {"loss", "volumes_per_s", "rankme", "feature_spread", "alpha_req", "gradient_norm", *PROBES}
)
"""What has a chart of its own; every other column is a term of the loss."""


def write_pretrain_report(
    run_dir: Path, pictures: Sequence[Picture] = (), places: Panels | None = None
) -> Path:
    """Write ``report.html`` into a pretraining run and return where it is.

    Args:
        run_dir: A run folder with ``metrics.csv``, ``config.yaml``, ``run.json`` and ``export/``;
            what is missing is left out.
        pictures: What the method was asked and what it answered.
        places: Where it looked, from :func:`~medssl.report.places.store_panels`.

    Raises:
        OutputError: If the file can't be written.
    """
    run = RunFolder.open(run_dir)
    method = str(run.section("method").get("name", "pretraining"))
    encoder = str(run.section("encoder").get("name", "encoder"))
    page = Page(
        kind="Pretraining",
        title=f"{method} on {encoder}",
        lead=_lead(method),
        key_figures=_key_figures(run),
        sections=(
            Section(
                "What it was asked",
                picture_blocks(pictures),
                "Taken from the run's own volumes, as the network saw them, after the last step.",
            ),
            *([] if places is None else [Section("Where it looked", (places,))]),
            Section("Learning", loss_charts(run)),
            Section(
                "Are the features alive?",
                feature_charts(run),
                "A falling loss can hide a collapse, in which all inputs get the same features. "
                "These two can not. Compare them over time within this run, not across methods.",
            ),
            Section("To do it again", run.blocks()),
        ),
    )
    return page.write(run_dir / "report.html")


def _lead(method: str) -> str:
    """Say what a method asks of the network; the first line of its file does, if nothing longer."""
    if method in PRETEXT:
        return PRETEXT[method]
    if method not in METHODS:
        return "An encoder was trained on volumes without labels."
    return lesson(method)


def _key_figures(run: RunFolder) -> list[KeyFigure]:
    figures = []
    steps = max((series[0][-1] for series in run.metrics.values()), default=0)
    if steps:
        figures.append(KeyFigure(count(float(steps)), "steps"))
    if "loss" in run.metrics:
        values = run.metrics["loss"][1]
        tail = values[-max(1, len(values) // 20) :]
        figures.append(KeyFigure(short(float(tail.mean())), "loss at the end", _first(run)))
    if (rank := run.last("rankme")) is not None:
        figures.append(KeyFigure(fixed(rank, 1), "RankMe at the end"))
    if (rate := run.last("volumes_per_s")) is not None:
        figures.append(KeyFigure(short(rate), "volumes a second"))
    if run.record.get("seconds"):
        figures.append(KeyFigure(duration(float(run.record["seconds"])), "in all"))
    return figures


def _first(run: RunFolder) -> str:
    return f"{short(float(run.metrics['loss'][1][0]))} at the beginning"


def loss_charts(run: RunFolder, *, leave_out: Collection[str] = ()) -> tuple[Block, ...]:
    """Return charts of the loss, its terms, the learning rate and the throughput, those that exist.

    Args:
        run: Where they were logged.
        leave_out: Figures that are no terms of the loss and are shown elsewhere.
    """
    blocks: list[Block] = []
    if (loss := curve(run, "loss")) is not None:
        log_y = bool((loss.y > 0).all() and loss.y.max() > 20 * loss.y[-1])
        svg = curves(
            [loss], x_label="step", y_label="loss", log_y=log_y, alt="Training loss over steps."
        )
        note = "Faint: as logged; bold: running mean." if len(loss.y) > 12 else ""
        blocks.append(Chart(svg, "Loss", note))
    rates = sorted(name for name in run.metrics if name.startswith(("lr", "learning_rate")))
    others = FIGURES.union(rates, leave_out)
    terms = [curve(run, name, label=name) for name in sorted(set(run.metrics) - others)]
    shown = [term for term in terms if term is not None][:8]
    if shown:
        svg = curves(shown, x_label="step", y_label="value", alt="Terms of the loss over steps.")
        blocks.append(Chart(svg, "Terms of the loss"))
    if rates and (rate := curve(run, rates[0], smooth=False)) is not None:
        svg = curves(
            [rate], x_label="step", y_label="learning rate", alt="Learning rate over steps."
        )
        blocks.append(Chart(svg, "Learning rate"))
    if (pace := curve(run, "volumes_per_s", smooth=False)) is not None:
        svg = curves([pace], x_label="step", y_label="volumes a second", alt="Volumes a second.")
        blocks.append(
            Chart(svg, "Throughput", "Mean since the start of the run, reading included.")
        )
    return tuple(blocks)


def feature_charts(run: RunFolder) -> tuple[Block, ...]:
    """Return charts of probes, RankMe and the spread of features, those that exist."""
    blocks: list[Block] = []
    asked = [curve(run, name, label=label, smooth=False) for name, label in PROBES.items()]
    if probes := [one for one in asked if one is not None]:
        svg = curves(probes, x_label="step", y_label="balanced accuracy", alt="Probes over steps.")
        note = "How well frozen features tell labelled crops apart, each patient held out once."
        blocks.append(Chart(svg, "Probes", note))
    if (rank := curve(run, "rankme", smooth=False)) is not None:
        svg = curves([rank], x_label="step", y_label="RankMe", alt="RankMe over steps.")
        blocks.append(
            Chart(svg, "RankMe", "How many directions the features use; 1 would be a collapse.")
        )
    if (spread := curve(run, "feature_spread", smooth=False)) is not None:
        svg = curves([spread], x_label="step", y_label="spread", alt="Feature spread over steps.")
        note = "How far features of different crops point apart; 0 would be a collapse."
        blocks.append(Chart(svg, "Spread", note))
    return tuple(blocks)
