"""``medssl evaluate``: how good predictions are, with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from medssl.commands.session import CommandSession
from medssl.errors import InputError, UsageError

if TYPE_CHECKING:
    from medssl.evaluation.metrics import LabelScores
    from medssl.evaluation.summary import Evaluation, IntervalRecord

__all__ = ["evaluate"]

TABLES = (".csv", ".parquet")
HEADINGS = {
    "dice": "Dice",
    "nsd": "NSD",
    "hd95_mm": "HD95 mm",
    "volume_error_ml": "volume error ml",
    "auroc": "AUROC",
    "average_precision": "average precision",
    "balanced_accuracy": "balanced accuracy",
    "calibration_error": "calibration error",
    "brier": "Brier",
}


def evaluate(
    *,
    predictions: Path,
    references: Path,
    out: Path,
    nsd_tolerance_mm: float = 2.0,
    bootstrap: int = 1000,
    seed: int = 0,
    subset: bool = False,
    overwrite: bool = False,
) -> Evaluation:
    """Compare predictions with references, per case, per label and in the mean.

    Masks are paired by file name and compared with the true spacing of the reference. Means carry
    95 % bootstrap intervals over patients.

    Args:
        predictions: A folder of masks, or a table of class probabilities (``predictions.csv``).
        references: A folder of masks, a labelled dataset, or a table with ``target``.
        out: The JSON file to write.
        nsd_tolerance_mm: How far two surfaces may lie apart and still agree.
        bootstrap: How often patients are drawn anew for the intervals.
        seed: Decides these draws.
        subset: Score only what was predicted; otherwise every reference needs a prediction.
        overwrite: Replace a file that is there.

    Returns:
        What was written.

    Raises:
        InputError: If a partner is missing or a mask can't be used.
        GeometryError: If prediction and reference do not lie on one grid.

    Example:
        medssl evaluate --predictions masks --references dataset/labelsTr --out scores.json
    """
    if nsd_tolerance_mm < 0 or bootstrap < 1:
        raise UsageError(
            f"--nsd-tolerance-mm {nsd_tolerance_mm:g} and --bootstrap {bootstrap} can't be used; "
            "expected at least 0 and at least 1"
        )
    options = {
        "predictions": predictions,
        "references": references,
        "nsd_tolerance_mm": nsd_tolerance_mm,
        "bootstrap": bootstrap,
        "seed": seed,
        "subset": subset,
    }
    with CommandSession(
        "evaluate", out=out, file=True, overwrite=overwrite, options=options
    ) as session:
        from medssl.io.atomic import write_json

        predictions, references = Path(predictions), Path(references)
        table = _class_table(predictions)
        if table is not None:
            result = _evaluate_classes(table, references, bootstrap, seed, subset=subset)
        else:
            result = _evaluate_masks(
                session, predictions, references, nsd_tolerance_mm, bootstrap, seed, subset=subset
            )
        write_json(Path(out), result)
        session.record["cases"] = len(result["cases"])
        session.hash_output(Path(out))
        session.summary(_table(result))
    return result


def _class_table(predictions: Path) -> Path | None:
    """Return the table of class probabilities that is meant, or none if masks are."""
    if predictions.suffix.lower() in TABLES:
        return predictions
    inside = predictions / "predictions.csv"
    return inside if inside.is_file() else None


def _evaluate_masks(
    session: CommandSession,
    predictions: Path,
    references: Path,
    tolerance_mm: float,
    repeats: int,
    seed: int,
    *,
    subset: bool,
) -> Evaluation:
    from medssl.evaluation import pairs
    from medssl.evaluation.references import open_references
    from medssl.evaluation.summary import summarise_masks

    known = open_references(references)
    predicted = pairs.files_by_case(predictions)
    names = pairs.match_cases(predicted, known.files, subset=subset)
    labels = known.labels or pairs.labels_found(
        path for name in names for path in (predicted[name], known.files[name])
    )
    scores = {
        name: _score_case(name, predicted[name], known.files[name], labels, tolerance_mm)
        for name in session.progress(names, unit="case", doing="evaluating")
    }
    left_out = len(known.files) - len(names)
    if left_out:
        session.note(
            f"{left_out} references have no prediction and were left out, as --subset says"
        )
    return summarise_masks(
        scores,
        patients=[known.patients[name] for name in names] if known.patients else None,
        repeats=repeats,
        seed=seed,
        settings={
            "nsd_tolerance_mm": tolerance_mm,
            "labels": labels,
            "references_left_out": left_out,
        },
    )


def _score_case(
    name: str, predicted: Path, reference: Path, labels: Mapping[str, int], tolerance_mm: float
) -> dict[str, LabelScores]:
    """Score one case.

    Raises:
        InputError: If a mask holds a value that is no label.
        GeometryError: If the masks do not lie on one grid.
    """
    from medssl.evaluation import pairs
    from medssl.evaluation.metrics import segmentation_scores

    answer, truth = pairs.read_mask(predicted), pairs.read_mask(reference)
    pairs.check_same_grid(name, answer, truth)
    strange = pairs.present_labels([answer.data, truth.data]) - set(labels.values())
    if strange:
        raise InputError(
            f"the masks of {name} hold the values {sorted(strange)}, which are no labels; expected "
            f"{', '.join(f'{value} ({label})' for label, value in labels.items())}"
        )
    return segmentation_scores(
        answer.data,
        truth.data,
        labels=labels,
        spacing_mm=truth.spacing_mm,
        nsd_tolerance_mm=tolerance_mm,
    )


def _evaluate_classes(
    table: Path, references: Path, repeats: int, seed: int, *, subset: bool
) -> Evaluation:
    """Score class probabilities against the targets of a table.

    Raises:
        InputError: If a case has no partner, or its class no probability.
    """
    import numpy as np

    from medssl.evaluation.pairs import match_cases
    from medssl.evaluation.summary import summarise_classes
    from medssl.evaluation.tables import read_classes, read_targets

    said, true = read_classes(table), read_targets(references)
    names = match_cases(
        dict.fromkeys(said.ids, table), dict.fromkeys(true.target, references), subset=subset
    )
    unknown = {true.target[name] for name in names} - set(said.classes)
    if unknown:
        raise InputError(
            f'"{references.name}" names the classes {sorted(unknown)}, for which there is no '
            f"probability; the predictions know {', '.join(said.classes)}"
        )
    rows = [said.ids.index(name) for name in names]
    return summarise_classes(
        names,
        np.array([said.classes.index(true.target[name]) for name in names]),
        said.values[rows],
        classes=said.classes,
        patients=[true.patient[name] for name in names],
        repeats=repeats,
        seed=seed,
    )


def _table(result: Evaluation) -> list[str]:
    """Return the lines of a small table: one a label, and the mean with its interval."""
    columns = [name for name in HEADINGS if name in result["mean"]]
    rows = [["", *(HEADINGS[name] for name in columns)]]
    for label, scores in result["labels"].items():
        rows.append([label, *(_cell(scores[name]) for name in columns)])
    if len(result["labels"]) != 1:
        rows.append(["mean", *(_cell(result["mean"][name]) for name in columns)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
    count = len(result["cases"])
    return [*(line.rstrip() for line in lines), f"{count} cases; in brackets 95 % intervals"]


def _cell(record: IntervalRecord) -> str:
    value, low, high = record["value"], record["low"], record["high"]
    if value is None:
        return "-"
    if low is None or high is None:
        return f"{value:.3f}"
    return f"{value:.3f} ({low:.3f}, {high:.3f})"
