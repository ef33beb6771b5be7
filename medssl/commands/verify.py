"""``medssl verify``: is what lies on the disk still what was written?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from medssl.commands.progress import plain_console
from medssl.errors import InputError

__all__ = ["verify"]


def verify(path: Path) -> list[str]:
    """Check a cohort, a store, a run or an export end to end: hashes, schema, geometry.

    Args:
        path: The folder that a command of medssl wrote.

    Returns:
        What was checked, one sentence each.

    Raises:
        InputError: If the folder is none of these, or something in it is not as it was written.

    Example:
        medssl verify runs/voco
    """
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f'"{folder.name}" is no folder; give one that a command of medssl wrote')
    kind, check = _kind(folder)
    found = [*_check_hashes(folder), *check(folder)]
    console = plain_console()
    for sentence in found:
        console.print(f"ok  {sentence}")
    console.print(f"The {kind} is whole.")
    return found


def _kind(folder: Path) -> tuple[str, Callable[[Path], Sequence[str]]]:
    """Say what a folder is by the file that only its kind has."""
    marks: dict[str, tuple[str, Callable[[Path], Sequence[str]]]] = {
        "manifest.json": ("export", _check_export),
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


def _check_store(folder: Path) -> Sequence[str]:
    from medssl.store.store import Store

    return Store.open(folder).verify()


def _check_cohort(folder: Path) -> Sequence[str]:
    from medssl.cohort.cohort import Cohort

    return Cohort.open(folder).verify()


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
