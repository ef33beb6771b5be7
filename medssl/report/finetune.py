"""The report of a fine-tuning run: did it learn, and how good is it on whom it has not seen?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from medssl.evaluation.bootstrap import Interval
from medssl.evaluation.summary import Evaluation, as_interval
from medssl.report.figures import curves
from medssl.report.numbers import count, fixed, interval, short
from medssl.report.page import Block, Chart, KeyFigure, Page, Section, Table
from medssl.report.panels import picture_blocks
from medssl.report.pretrain import loss_charts
from medssl.report.run import RunFolder, curve
from medssl.types import Picture

__all__ = ["HEADINGS", "score_tables", "write_finetune_report"]

HEADINGS = {
    "dice": "Dice",
    "nsd": "surface Dice",
    "hd95_mm": "HD95, mm",
    "volume_error_ml": "volume error, ml",
    "volume_error_percent": "volume error, %",
    "auroc": "AUROC",
    "average_precision": "average precision",
    "balanced_accuracy": "balanced accuracy",
    "calibration_error": "calibration error",
    "brier": "Brier score",
}


def write_finetune_report(
    run_dir: Path, pictures: Sequence[Picture] = (), *, evaluation: Evaluation | None = None
) -> Path:
    """Write ``report.html`` into a fine-tuning run and return where it is.

    Args:
        run_dir: A run folder with ``metrics.csv``, ``config.yaml``, ``run.json`` and ``export/``;
            what is missing is left out.
        pictures: Predictions beside references.
        evaluation: What ``evaluate`` returned for held-out cases.

    Raises:
        OutputError: If the file can't be written.
    """
    run = RunFolder.open(run_dir)
    task = str(run.section("task").get("name", "fine-tuning"))
    encoder = run.section("encoder").get("name") or run.manifest.get("encoder", {}).get("name", "")
    page = Page(
        kind="Fine-tuning",
        title=f"{task.capitalize()} on {encoder}" if encoder else task.capitalize(),
        lead=_lead(run),
        key_figures=_key_figures(run, evaluation),
        sections=(
            Section("Held-out cases", score_tables(evaluation) if evaluation is not None else ()),
            Section("Predictions", picture_blocks(pictures, labels=_labels(run))),
            Section("Learning", (*_validation(run), *loss_charts(run, leave_out=_validated(run)))),
            Section("To do it again", run.blocks()),
        ),
    )
    return page.write(run_dir / "report.html")


def _lead(run: RunFolder) -> str:
    names = ", ".join(name.replace("_", " ") for name in _labels(run))
    if names:
        return f"A network was taught, from labelled cases, to find: {names}."
    return "A network was taught from labelled cases."


def _labels(run: RunFolder) -> Mapping[str, int]:
    """Return name and value of each label that the model finds, as its manifest says."""
    labels = (run.manifest.get("task") or {}).get("labels") or {}
    return {str(name): int(value) for name, value in dict(labels).items()}


def _key_figures(run: RunFolder, evaluation: Evaluation | None) -> list[KeyFigure]:
    figures = []
    for name in ("dice", "hd95_mm", "auroc", "balanced_accuracy"):
        if evaluation is not None and name in evaluation["mean"]:
            mean = as_interval(evaluation["mean"][name])
            note = f"95 % interval {fixed(mean.low)} to {fixed(mean.high)}"
            value = fixed(mean.value, 1 if name.endswith("_mm") else 3)
            figures.append(KeyFigure(value, f"mean {HEADINGS[name]}, held out", note))
    for name in _validated(run)[:2]:
        last = run.last(name)
        figures.append(KeyFigure(fixed(last), f"{_readable(name)} in validation"))
    steps = max((float(series[0][-1]) for series in run.metrics.values()), default=0.0)
    if steps:
        figures.append(KeyFigure(count(steps), "steps"))
    if (rate := run.last("volumes_per_s")) is not None:
        figures.append(KeyFigure(short(rate), "volumes a second"))
    return figures


def score_tables(evaluation: Evaluation) -> tuple[Block, ...]:
    """Return the scores of an evaluation, one row a label and one for the mean, with intervals."""
    names = [name for name in HEADINGS if name in evaluation["mean"]]
    rows = [
        (label, *(_cell(name, as_interval(scores[name])) for name in names))
        for label, scores in evaluation["labels"].items()
    ]
    if len(rows) != 1:
        mean = evaluation["mean"]
        rows.append(("mean", *(_cell(name, as_interval(mean[name])) for name in names)))
    cases = len(evaluation["cases"])
    tolerance = evaluation["settings"].get("nsd_tolerance_mm")
    caption = f"{count(cases)} cases; 95 % bootstrap intervals over patients."
    if tolerance is not None:
        caption += f" Surfaces within {tolerance:g} mm count as agreeing."
    columns = ("", *(HEADINGS[name] for name in names))
    return (Table(columns, tuple(rows), caption, frozenset(range(1, len(columns)))),)


def _cell(name: str, value: Interval) -> str:
    digits = 1 if name.endswith(("_mm", "_percent")) else 2 if name.endswith("_ml") else 3
    return interval(value, digits)


def _validated(run: RunFolder) -> list[str]:
    return sorted(name for name in run.metrics if name.startswith(("val_", "validation_", "val/")))


def _readable(name: str) -> str:
    for prefix in ("validation_", "val_", "val/"):
        name = name.removeprefix(prefix)
    return name.replace("_", " ")


def _validation(run: RunFolder) -> tuple[Block, ...]:
    series = [curve(run, name, label=_readable(name), smooth=False) for name in _validated(run)]
    shown = [line for line in series if line is not None]
    if not shown:
        return ()
    svg = curves(shown, x_label="step", y_label="score", alt="Validation scores over steps.")
    return (Chart(svg, "Validation", "Patients that training does not see."),)
