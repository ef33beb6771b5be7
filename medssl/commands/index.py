"""``medssl index``: a raw folder becomes a table one can trust."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssl.commands.session import CommandSession
from medssl.errors import UsageError
from medssl.types import Modality

if TYPE_CHECKING:
    from medssl.cohort.cohort import Cohort

__all__ = ["index"]


def index(
    sources: Sequence[Path | str] | Path | str,
    *,
    out: Path | str,
    modality: Modality = "unknown",
    min_slices: int = 4,
    workers: int = 0,
    overwrite: bool = False,
) -> Cohort:
    """Scan folders and admit or quarantine every series, with a reason.

    Every file ends as part of an admitted volume, as a line of quarantine.csv with a reason, or in
    a count of what was passed over. Sources are never written to. Patients are told apart by a
    salted hash whose salt stays on this machine.

    Args:
        sources: Files, folders, zip archives or patterns.
        out: The cohort folder.
        modality: What an image is where neither file, name nor neighbours tell.
        min_slices: Fewest slices of a volume; what has fewer is put into quarantine.
        workers: Processes that read; 0 reads in this one.
        overwrite: Replace a cohort that is there.

    Returns:
        The cohort.

    Raises:
        InputError: If a source is missing, or none holds an image; nothing is written then.
        OutputError: If the cohort can't be written.
        UsageError: If the output is there already, or an option is out of range.

    Example:
        medssl index /scans --out cohort
    """
    from medssl.cohort.admit import Policy
    from medssl.cohort.scan import index_sources
    from medssl.report.cohort import write_cohort_report

    if min_slices < 1 or workers < 0:
        raise UsageError("--min-slices must be at least 1 and --workers at least 0")
    given = [sources] if isinstance(sources, Path | str) else list(sources)
    folder = Path(out)
    options = {"modality": modality, "min_slices": min_slices, "workers": workers}
    with CommandSession("index", out=folder, overwrite=overwrite, options=options) as session:
        with _processes(workers) as executor:
            cohort = index_sources(
                given,
                folder,
                policy=Policy(modality=modality, min_slices=min_slices),
                executor=executor,
                progress=session.progress,
            )
        write_cohort_report(cohort, folder / "report.html")
        session.hash_output(folder / "volumes.parquet", folder / "quarantine.csv")
        _say(session, folder)
    return cohort


@contextmanager
def _processes(workers: int) -> Iterator[Executor | None]:
    if workers == 0:
        yield None
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield pool


def _say(session: CommandSession, folder: Path) -> None:
    import json

    summary: Mapping[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    session.record["counts"] = summary
    copies = f", {summary['duplicates']} of them copies of another" if summary["duplicates"] else ""
    lines = [
        f"{summary['volumes']} volumes of {summary['patients']} patients admitted "
        f"({_counts(summary['modality'])}){copies}"
    ]
    for name, what in (
        ("codes", "put into quarantine, see quarantine.csv"),
        ("fixes", "repaired or remarked"),
        ("ignored", "passed over"),
    ):
        if summary[name]:
            lines.append(f"{sum(summary[name].values())} {what} ({_counts(summary[name])})")
    if "unknown" in summary["modality"]:
        lines.append(
            "Some do not say what made them; if you know, index again with --modality mr, say"
        )
    session.summary(lines, next_step=f"medssl prepare {folder} --out store")


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in counts.items())
