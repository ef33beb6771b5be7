"""The report of ``medssl demo``: the whole road on one page, for someone who is new to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medssl.cohort.cohort import Cohort
from medssl.evaluation.bootstrap import Interval, mean_interval, paired_difference
from medssl.evaluation.summary import Evaluation, as_interval, case_means
from medssl.report.cohort import cohort_section
from medssl.report.numbers import duration, fixed, interval, signed
from medssl.report.page import Block, Chart, KeyFigure, Page, Section, Table
from medssl.report.paired import paired_dice
from medssl.report.panels import picture_blocks
from medssl.report.pretrain import PRETEXT, feature_charts, loss_charts
from medssl.report.run import RunFolder
from medssl.report.store import sample_crops
from medssl.store.store import Store
from medssl.types import Picture, Shape

__all__ = ["Comparison", "PretrainedRun", "write_demo_report"]


@dataclass(frozen=True)
class PretrainedRun:
    """One pretraining run of the demo.

    Attributes:
        method: Name of the method.
        folder: Its run folder.
        pictures: What it was asked and what it answered.
    """

    method: str
    folder: Path
    pictures: Sequence[Picture] = ()


@dataclass(frozen=True)
class Comparison:
    """The same fine-tuning twice, evaluated on the same held-out subjects.

    Attributes:
        pretrained: What ``evaluate`` returned for the run that began with pretrained weights.
        scratch: The same for the run that began with random weights.
        labelled: How many labelled subjects each was taught with.
        method: What the weights were pretrained with.
        pictures: Predictions of both beside the truth.
    """

    pretrained: Evaluation
    scratch: Evaluation
    labelled: int
    method: str
    pictures: Sequence[Picture] = ()

    @property
    def dice(self) -> tuple[list[float], list[float]]:
        """Mean Dice of each subject from scratch and pretrained, in one order."""
        before, after = case_means(self.scratch), case_means(self.pretrained)
        shared = [
            case
            for case in before
            if case in after and np.isfinite([before[case], after[case]]).all()
        ]
        return [before[case] for case in shared], [after[case] for case in shared]


def write_demo_report(
    path: Path,
    *,
    cohort: Cohort,
    store: Store,
    patch: Shape,
    runs: Sequence[PretrainedRun],
    comparison: Comparison | None = None,
    seconds: float | None = None,
) -> Path:
    """Write the report of the demo and return where it is.

    Args:
        path: The HTML file.
        cohort: What was indexed.
        store: What was prepared.
        patch: Edges of a crop in voxels.
        runs: The pretraining runs, in order.
        comparison: Fine-tuning with and without pretrained weights.
        seconds: How long everything took.

    Raises:
        OutputError: If the file can't be written.
    """
    crops = Section(
        "What the network is fed",
        sample_crops(store, patch),
        "Scans are brought to one orientation, one spacing and one scale of intensities, and "
        "stored so that a crop is read without the rest. Crops are drawn where there is body.",
    )
    page = Page(
        kind="medssl demo",
        title="From a raw folder to a predicted mask",
        lead=(
            "This page shows every stage of the road on synthetic anatomy that was made on this "
            "machine a moment ago: no patient, no download, no GPU. Your own data would go through "
            "the same stages."
        ),
        key_figures=_key_figures(store, comparison, seconds),
        sections=(
            cohort_section(cohort),
            crops,
            *(section for run in runs for section in _run_sections(run)),
            *([_comparison(comparison)] if comparison is not None else []),
        ),
    )
    return page.write(path)


def _key_figures(
    store: Store, comparison: Comparison | None, seconds: float | None
) -> list[KeyFigure]:
    figures = [KeyFigure(str(len(store.ids)), "volumes without labels")]
    if comparison is not None:
        figures.append(KeyFigure(str(comparison.labelled), "labelled subjects"))
        scratch, pretrained = comparison.dice
        for values, label in ((scratch, "Dice from scratch"), (pretrained, "Dice, pretrained")):
            mean = mean_interval(values)
            note = f"{fixed(mean.low)} to {fixed(mean.high)}"
            figures.append(KeyFigure(fixed(mean.value), label, note))
        gain = paired_difference(pretrained, scratch)
        note = f"{signed(gain.low)} to {signed(gain.high)}"
        figures.append(KeyFigure(signed(gain.value), "gained, subject by subject", note))
    if seconds is not None:
        figures.append(KeyFigure(duration(seconds), "in all, on this machine"))
    return figures


def _run_sections(run: PretrainedRun) -> list[Section]:
    folder = RunFolder.open(run.folder)
    blocks: tuple[Block, ...] = (
        *picture_blocks(run.pictures),
        *loss_charts(folder)[:1],
        *feature_charts(folder)[:1],
    )
    return [Section(f"Pretraining with {run.method}", blocks, PRETEXT.get(run.method, ""))]


def _comparison(comparison: Comparison) -> Section:
    scratch, pretrained = comparison.dice
    gain = paired_difference(pretrained, scratch)
    chart = Chart(
        paired_dice(np.array(scratch), np.array(pretrained)),
        "Dice of the same held-out subjects",
        "One line a subject. Diamonds: means with 95 % bootstrap intervals. Right: the difference "
        "within each subject, which is what pretraining is worth here.",
        wide=True,
    )
    lead = (
        f"Two networks were taught to segment with {comparison.labelled} labelled subjects and "
        f"the same settings; one began with the {comparison.method} weights, the other with random "
        f"ones. On {len(scratch)} subjects that neither had seen, {_verdict(gain)}"
    )
    labels = comparison.pretrained["settings"].get("labels")
    shown = picture_blocks(comparison.pictures, labels=labels)
    blocks = (chart, *_label_table(comparison), *shown)
    return Section("Is it worth it?", blocks, lead)


def _verdict(gain: Interval) -> str:
    """Say what the difference allows to say, and no more."""
    points = f"{signed(gain.value)} ({signed(gain.low)} to {signed(gain.high)})"
    if gain.low > 0:
        return f"the pretrained one is better by {points} Dice."
    if gain.high < 0:
        return f"the pretrained one is worse by {points} Dice."
    return f"the difference is {points} Dice: too few subjects, or too little, to tell."


def _label_table(comparison: Comparison) -> tuple[Block, ...]:
    before, after = comparison.scratch["labels"], comparison.pretrained["labels"]
    rows = []
    for label in (label for label in before if label in after):
        dice = [as_interval(scores[label]["dice"]) for scores in (before, after)]
        distance = [as_interval(scores[label]["hd95_mm"]) for scores in (before, after)]
        rows.append(
            (
                label.replace("_", " "),
                *(interval(value) for value in dice),
                signed(dice[1].value - dice[0].value),
                *(fixed(value.value, 1) for value in distance),
            )
        )
    columns = (
        "label",
        "Dice from scratch",
        "Dice, pretrained",
        "difference",
        "HD95 from scratch, mm",
    )
    return (
        Table(
            (*columns, "HD95, pretrained, mm"),
            tuple(rows),
            "By label; in brackets 95 % intervals.",
            frozenset(range(1, 6)),
        ),
    )
