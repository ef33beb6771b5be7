"""``medssl index``: a raw folder becomes a table one can trust."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medssl.commands.session import CommandSession
from medssl.errors import UsageError
from medssl.types import Modality

if TYPE_CHECKING:
    from medssl.cohort.cohort import Cohort
    from medssl.cohort.scan import Part, Scan

__all__ = ["index"]


def index(  # noqa: PLR0913 - an argument for each option of the command
    sources: Sequence[Path | str] | Path | str,
    *,
    out: Path | str,
    modality: Modality = "unknown",
    min_slices: int = 4,
    time_series: Literal["hold", "first", "split"] = "hold",
    fill_missing: int = 0,
    reduce: Literal["none", "hash"] = "none",
    threshold: float | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    num_parts: int | None = None,
    part: int | None = None,
    seconds: float = 300.0,
    memory_gb: float | None = None,
    thumbnails: bool = False,
    resume: bool = False,
    overwrite: bool = False,
) -> Cohort:
    """Scan folders and admit or quarantine every series, with a reason.

    Every file ends as part of an admitted volume, as a line of quarantine.csv with a reason, or in
    a count of what was passed over. Sources are never written to. Patients are told apart by a
    salted hash whose salt stays on this machine. Files are read in processes of their own: one that
    crashes its reader, hangs or does not fit into memory costs that file alone.

    Args:
        sources: Files, folders, zip and tar archives or patterns.
        out: The cohort folder.
        modality: What an image is where neither file, name nor neighbours tell.
        min_slices: Fewest slices of a volume; what has fewer is put into quarantine.
        time_series: What becomes of many volumes of one place: hold puts them into quarantine,
            first takes one, split takes each as a volume of its own.
        fill_missing: Up to this many missing slices of a series are interpolated.
        reduce: Keep one of the volumes that look alike; what is taken out is in reduced.csv.
        threshold: With --reduce hash, the largest share of differing bits of two volumes that count
            as alike; by default 0.06.
        workers: Processes that read; by default one a core, eight at most.
        scheduler: Address of a Dask cluster that reads instead, such as tcp://host:8786; its
            workers see the sources under the same paths.
        num_parts: Read one part of the folders alone, of so many; a run with --resume then joins
            the parts.
        part: Which part, from 0 on.
        seconds: Longest that reading one file or volume may take.
        memory_gb: Most memory that a reading process may take for one; by default the machine's,
            shared out.
        thumbnails: Show slices of a few volumes in the report; faces can be recognised.
        resume: Go on with what is there: read only what is new or changed.
        overwrite: Replace a cohort that is there.

    Returns:
        The cohort; an empty one where one part was read.

    Raises:
        InputError: If a source is missing, or none holds an image; nothing is written then. Also if
            the cluster does not answer.
        OutputError: If the cohort can't be written.
        UsageError: If the output is there already, or an option is out of range.

    Example:
        medssl index /scans --out cohort
    """
    _check(
        {"--min-slices": (min_slices, 1), "--workers": (workers, 1), "--seconds": (seconds, 1)}
        | {"--fill-missing": (fill_missing, 0), "--memory-gb": (memory_gb, 0.5)}
    )
    from medssl.cohort.admit import Policy
    from medssl.cohort.cohort import SCHEMA, Cohort
    from medssl.cohort.crew import open_crew
    from medssl.cohort.scan import scan_sources
    from medssl.io.contract import ReadRules

    most = _most_bits(reduce, threshold)
    share = _part(part, num_parts)
    folder = Path(out) if share is None else share.folder(Path(out))
    options = {
        "modality": modality, "min_slices": min_slices, "time_series": time_series,
        "fill_missing": fill_missing, "reduce": reduce, "threshold": threshold,
        "workers": workers, "num_parts": num_parts, "part": part, "seconds": seconds,
        "memory_gb": memory_gb, "resume": resume, "scheduler": scheduler is not None,
    }  # fmt: skip
    with (
        CommandSession(
            "index", out=folder, overwrite=overwrite, resume=resume, options=options
        ) as session,
        open_crew(
            workers, scheduler=scheduler, seconds=seconds, memory_bytes=_bytes(memory_gb)
        ) as crew,
    ):
        done = scan_sources(
            [sources] if isinstance(sources, Path | str) else list(sources),
            Path(out),
            policy=Policy(modality, min_slices, ReadRules(time_series, fill_missing)),
            crew=crew,
            part=share,
            resume=resume,
            progress=session.progress,
        )
        done = replace(done, cohort=_reduced(session, done.cohort, most))
        _conclude(session, done, Path(out), thumbnails=thumbnails)
    return done.cohort if done.cohort is not None else Cohort(folder, SCHEMA.empty_table(), ())


def _bytes(gigabytes: float | None) -> int | None:
    return None if gigabytes is None else round(gigabytes * 2**30)


def _most_bits(reduce: str, threshold: float | None) -> float | None:
    """Return the share of differing bits at which volumes are alike; none where all are kept."""
    if threshold is not None and (reduce == "none" or not 0 <= threshold < 1):
        raise UsageError("--threshold goes with --reduce hash and is a share from 0 up to below 1")
    from medssl.cohort.reduce import DEFAULT_THRESHOLD

    if reduce == "none":
        return None
    return DEFAULT_THRESHOLD if threshold is None else threshold


def _reduced(session: CommandSession, cohort: Cohort | None, most: float | None) -> Cohort | None:
    """Take out what looks like another volume, where that is asked for, and say how much."""
    if cohort is None:
        return None
    if most is None:
        (cohort.path / "reduced.csv").unlink(missing_ok=True)  # of an earlier run
        return cohort
    from medssl.cohort.reduce import reduce_cohort

    smaller, removed = reduce_cohort(cohort, most)
    others = sum(not entry.same_patient for entry in removed)
    session.note(
        f"{len(removed)} of {len(cohort)} volumes look like another (at most {most:g} of their "
        f"bits differ) and were taken out, see reduced.csv; {others} of them like another "
        "patient's"
    )
    return smaller


def _check(limits: Mapping[str, tuple[float | None, float]]) -> None:
    """Refuse options below their least value."""
    for name, (value, least) in limits.items():
        if value is not None and not value >= least:
            raise UsageError(f"{name} is {value:g}; expected at least {least:g}")


def _part(part: int | None, num_parts: int | None) -> Part | None:
    """Return the share of the folders that is to be read; none stands for all."""
    from medssl.cohort.scan import Part

    if part is None and num_parts is None:
        return None
    if part is None or num_parts is None or not 0 <= part < num_parts:
        raise UsageError(
            f"--part {part} of --num-parts {num_parts}: expected both, and a part from 0 to one "
            "less than their number"
        )
    return Part(part, num_parts)


def _conclude(session: CommandSession, done: Scan, out: Path, *, thumbnails: bool) -> None:
    """Write the report and say what came out."""
    session.record["reading"] = {
        "files": done.files, "files_read": done.read,
        "series": done.series, "series_read": done.judged,
    }  # fmt: skip
    lines = [_reading(done)] if done.read < done.files or done.cohort is None else []
    if done.was_damaged:
        lines.append("The journal of the last run was damaged and was begun anew")
    if done.cohort is None:
        next_step = f"when all parts are done, medssl index SOURCE --out {out} --resume"
        session.summary(lines, next_step=next_step)
        return
    _report(session, done.cohort, out, thumbnails=thumbnails)
    session.hash_output(out / "volumes.parquet", out / "quarantine.csv")
    _say(session, out, lines)


def _report(session: CommandSession, cohort: Cohort, out: Path, *, thumbnails: bool) -> None:
    """Write the report, unless an earlier run wrote it of the same tables."""
    facts = sha256(f"{version('medssl')} {thumbnails}".encode())
    for name in ("volumes.parquet", "quarantine.csv", "summary.json", "reduced.csv"):
        path = out / name
        facts.update(sha256(path.read_bytes()).digest() if path.is_file() else b"none")
    session.record["report_of"] = facts.hexdigest()
    report = out / "report.html"
    try:
        earlier = json.loads((out / "run.json").read_text(encoding="utf-8"))["report_of"]
    except (OSError, ValueError, LookupError, TypeError):
        earlier = None
    if earlier == facts.hexdigest() and report.is_file():
        return
    report.unlink(missing_ok=True)
    from medssl.report.cohort import write_cohort_report

    write_cohort_report(cohort, report, thumbnails=thumbnails)


def _reading(done: Scan) -> str:
    known = "" if done.read == done.files else ", the rest known from an earlier run"
    return (
        f"{done.read} of {done.files} files and {done.judged} of {done.series} series or images "
        f"read{known}"
    )


def _say(session: CommandSession, folder: Path, lines: list[str]) -> None:
    summary: Mapping[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    session.record["counts"] = summary
    copies = f", {summary['duplicates']} of them copies of another" if summary["duplicates"] else ""
    lines.append(
        f"{summary['volumes']} volumes of {summary['patients']} patients admitted "
        f"({_counts(summary['modality'])}){copies}"
    )
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
