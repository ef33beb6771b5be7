"""``medssl probe``: what frozen features know, by nearest neighbours and a linear model."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssl.commands.progress import plain_console
from medssl.commands.session import CommandSession
from medssl.errors import InputError, UsageError

if TYPE_CHECKING:
    from medssl.evaluation.bootstrap import Interval
    from medssl.evaluation.probe import ProbeResult
    from medssl.evaluation.tables import Features, Targets

__all__ = ["probe"]

PROBES = {"knn": "nearest neighbours", "linear": "linear model"}


def probe(
    *,
    features: Path,
    targets: Path | None = None,
    out: Path | None = None,
    neighbours: int = 5,
    folds: int = 5,
    bootstrap: int = 1000,
    seed: int = 0,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Ask frozen features for a target, each patient held out once; or look for collapse.

    Without targets only the rank and the spread of the features are given. With them, a nearest
    neighbour and a linear probe are cross-validated over patients. Text, and whole numbers of which
    there are few, are classes; other numbers are predicted as numbers.

    Args:
        features: What ``medssl embed`` wrote.
        targets: A table with ``target``, ``id`` or ``image``, and perhaps ``patient``.
        out: A JSON file to write; by default nothing is written.
        neighbours: How many cases vote in the nearest-neighbour probe.
        folds: Number of parts the patients are split into.
        bootstrap: How often patients are drawn anew for the 95 % intervals.
        seed: Decides parts and draws.
        overwrite: Replace a file that is there.

    Returns:
        The figures.

    Raises:
        InputError: If a table lacks a column or a case its partner.
        DatasetError: If there are too few patients to hold some out.

    Example:
        medssl probe --features features.parquet --targets targets.csv
    """
    if min(neighbours, bootstrap) < 1 or folds < 2:
        raise UsageError("--neighbours and --bootstrap must be at least 1, --folds at least 2")
    options = {
        "features": features,
        "targets": targets,
        "neighbours": neighbours,
        "folds": folds,
        "bootstrap": bootstrap,
        "seed": seed,
    }
    session = (
        contextlib.nullcontext()
        if out is None
        else CommandSession("probe", out=out, file=True, overwrite=overwrite, options=options)
    )
    with session as opened:
        result = _figures(Path(features), targets, options)
        lines = _lines(result)
        if opened is None or out is None:
            for line in lines:
                plain_console().print(line)
        else:
            from medssl.io.atomic import write_json

            write_json(Path(out), result)
            opened.summary(lines)
    return result


def _figures(features: Path, targets: Path | None, options: Mapping[str, Any]) -> dict[str, Any]:
    import dataclasses

    import torch

    from medssl.evaluation.rank import collapse_figures
    from medssl.evaluation.tables import read_features, read_targets

    known = read_features(features)
    if len(known.ids) < 2:
        raise InputError(f'"{features.name}" holds one vector; expected at least two')
    alone = collapse_figures(torch.from_numpy(known.vectors))
    result: dict[str, Any] = {"features": {**dataclasses.asdict(alone), "note": alone.note}}
    if targets is not None:
        result |= _probed(known, read_targets(Path(targets)), options)
    return result


def _probed(known: Features, true: Targets, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scores of both probes over the cases that have a target."""
    import numpy as np

    from medssl.evaluation.probe import probe_classes, probe_numbers

    rows = [row for row, name in enumerate(known.ids) if name in true.target]
    if not rows:
        raise InputError(
            "no case of the features is in the table of targets; its ids must be the file names of "
            "the scans without suffix, or it must have a column image"
        )
    names = [known.ids[row] for row in rows]
    vectors = known.vectors[rows].astype(np.float64)
    patients = [true.patient[name] for name in names]
    common = {
        "folds": options["folds"],
        "neighbours": options["neighbours"],
        "repeats": options["bootstrap"],
        "seed": options["seed"],
    }
    numbers = true.numbers()
    scores: ProbeResult
    if numbers is None:
        classes = [true.target[name] for name in names]
        scores = probe_classes(vectors, classes, patients, **common)
    else:
        scores = probe_numbers(vectors, [numbers[name] for name in names], patients, **common)
    return {
        "cases": len(rows),
        "patients": len(set(patients)),
        "probes": {
            kind: {name: _record(value) for name, value in found.items()}
            for kind, found in scores.items()
        },
    }


def _record(value: Interval) -> Mapping[str, Any]:
    from medssl.evaluation.summary import as_record

    return as_record(value)


def _lines(result: Mapping[str, Any]) -> list[str]:
    """Return the figures as lines to read."""
    alone = result["features"]
    lines = [
        f"{alone['inputs']} vectors of {alone['dimensions']}: RankMe {alone['rankme']:.1f}, "
        f"spread {alone['spread']:.3f}, mean cosine {alone['likeness']:.3f}"
    ]
    lines += [alone["note"]] if alone["note"] else []
    for kind, found in result.get("probes", {}).items():
        scores = ", ".join(f"{name.replace('_', ' ')} {_words(v)}" for name, v in found.items())
        lines.append(f"{PROBES[kind]}: {scores}")
    return lines


def _words(record: Mapping[str, Any]) -> str:
    if record["value"] is None:
        return "-"
    if record["low"] is None:
        return f"{record['value']:.3f}"
    return f"{record['value']:.3f} ({record['low']:.3f}, {record['high']:.3f})"
