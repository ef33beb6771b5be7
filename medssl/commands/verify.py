"""``medssl verify``: is what lies on the disk still what was written?"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medssl.commands.progress import plain_console
from medssl.errors import InputError

if TYPE_CHECKING:
    from medssl.cohort.cases import Problem
    from medssl.cohort.inspect_labels import LabelInspection

__all__ = ["verify"]


def verify(path: Path) -> list[str]:
    """Check a cohort, a store, a run or an export end to end: hashes, schema, geometry.

    Also a labelled dataset, before anything is learnt from it: whether images and masks lie in the
    same place to the far corner, what values the masks hold, whether a patient or an image is in
    two splits. All that is wrong is told, not only the first.

    Args:
        path: The folder that a command of medssl wrote, or a labelled dataset: a Decathlon or
            nnU-Net folder, or a table.

    Returns:
        What was checked, one sentence each.

    Raises:
        InputError: If it is none of these, or something in it is not as it should be.

    Example:
        medssl verify runs/voco
    """
    folder = Path(path)
    if _is_dataset(folder):
        return _verify_labels(folder)
    if not folder.is_dir():
        raise InputError(
            f'"{folder.name}" is no folder; give one that a command of medssl wrote, or a labelled '
            "dataset"
        )
    kind, check = _kind(folder)
    found = [*_check_hashes(folder), *check(folder)]
    console = plain_console()
    for sentence in found:
        console.print(f"ok  {sentence}")
    console.print(f"The {kind} is whole.")
    return found


def _is_dataset(path: Path) -> bool:
    if path.is_file():
        return path.suffix.lower() in (".csv", ".parquet")
    return (path / "imagesTr").is_dir() or (path / "labelsTr").is_dir()


def _verify_labels(path: Path) -> list[str]:
    from medssl.cohort.inspect_labels import inspect_labels

    found = inspect_labels(path)
    console = plain_console()
    if found.dataset.task == "segmentation" and found.labels:
        console.print(f"{'label':<24}{'value':>6}{'cases':>8}{'mean ml':>12}")
        for name, label in found.labels.items():
            mean = f"{label.millilitres / label.cases:.2f}" if label.cases else "-"
            console.print(f"{name:<24}{label.value:>6}{label.cases:>8}{mean:>12}")
    sentences = _of_labels(found)
    for sentence in sentences:
        console.print(f"ok  {sentence}")
    _tell(found.problems, path)
    console.print("The dataset is sound.")
    return sentences


def _of_labels(found: LabelInspection) -> list[str]:
    from medssl.cohort.cases import listed

    sentences = [f"{len(found.dataset.cases)} cases for {found.dataset.task}"]
    if found.splits:
        shares = ", ".join(f"{count} {split}" for split, count in sorted(found.splits.items()))
        sentences.append(f"splits: {shares}")
    if found.empty:
        sentences.append(f"{len(found.empty)} masks hold no label: {listed(found.empty)}")
    return sentences


def _tell(problems: Sequence[Problem], path: Path) -> None:
    """Print every problem and end, if there is any."""
    if not problems:
        return
    console = plain_console(error=True)
    counts: Counter[str] = Counter()
    for problem in problems:
        counts[problem.kind] += problem.count
        console.print(f"bad {problem.text}")
    told = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    raise InputError(f'"{path.name}" is not sound: {told}; the reasons are above')


def _kind(folder: Path) -> tuple[str, Callable[[Path], Sequence[str]]]:
    """Say what a folder is by the file that only its kind has."""
    marks: dict[str, tuple[str, Callable[[Path], Sequence[str]]]] = {
        "manifest.json": ("export", _check_export),
        "handover.json": ("hand-over", _check_handover),
        "store.json": ("store", _check_store),
        "quarantine.csv": ("cohort", _check_cohort),
        "config.yaml": ("run", _check_run),
    }
    for mark, answer in marks.items():
        if (folder / mark).is_file():
            return answer
    raise InputError(
        f'"{folder.name}" is no cohort, store, run or export of medssl: it has none of '
        + ", ".join(marks)
    )


def _check_export(folder: Path) -> Sequence[str]:
    from medssl.weights.load import verify_export

    return verify_export(folder)


def _check_handover(folder: Path) -> Sequence[str]:
    from medssl.weights.formats.record import read_record

    return [f"handed over as {read_record(folder)['format']}"]


def _check_store(folder: Path) -> Sequence[str]:
    from medssl.store.store import Store

    return Store.open(folder).verify()


def _check_cohort(folder: Path) -> Sequence[str]:
    from medssl.cohort.cohort import Cohort
    from medssl.cohort.inspect_cohort import inspect_cohort

    cohort = Cohort.open(folder)
    _tell(inspect_cohort(cohort), folder)
    return [f"{len(cohort)} volumes are where and what they were"]


def _check_run(folder: Path) -> Sequence[str]:
    from medssl.commands import configuration as c
    from medssl.commands.overrides import read_sections

    text = read_sections(folder / "config.yaml")
    sections = c.pretrain_sections() if "method" in text else c.finetune_sections()
    c.load_configuration(text, {}, sections)
    if not (folder / "export").is_dir():
        raise InputError(
            f'run "{folder.name}" has no export yet; finish it with the same command and --resume'
        )
    return ["config.yaml is complete and valid", *_check_export(folder / "export")]


def _check_hashes(folder: Path) -> list[str]:
    """Compare the files that ``run.json`` has hashes of."""
    file = folder / "run.json"
    if not file.is_file():
        return []
    try:
        wanted: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))["sha256"]
    except (ValueError, KeyError) as error:
        raise InputError(
            f'run.json in "{folder.name}" is damaged; run the command again'
        ) from error
    for name, digest in wanted.items():
        try:
            with (folder / name).open("rb") as stream:
                actual = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f'"{name}" of "{folder.name}" is missing or can\'t be read') from error
        if actual != digest:
            raise InputError(f'"{name}" of "{folder.name}" changed since it was written')
    return [f"{len(wanted)} files have the hash of run.json"] if wanted else []
