"""One volume through a recipe and onto the disk, here, in a child process or on a cluster."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medssl.cohort.crew import Run
from medssl.errors import InputError, OutputError, StoreError
from medssl.io.sandbox import SandboxFault
from medssl.store.layout import volume_path
from medssl.store.note import describe, facts_of, facts_to_note
from medssl.store.recipe import Recipe
from medssl.store.sources import Item
from medssl.store.volume_file import VolumeFile, file_checksum, write_volume

__all__ = ["Outcome", "Task", "prepare_one"]

_FAULTS = {
    "crash": ("corrupt", "reading it ends the process that reads"),
    "timeout": ("corrupt", "preparing it takes longer than the limit; --seconds sets another"),
    "memory": ("too_large", "it does not fit into memory; --memory-gb gives more, if there is"),
}


@dataclass(frozen=True)
class Outcome:
    """What became of one volume.

    Attributes:
        volume: Its name.
        row: Its row of the table; none if it could not be used.
        code: Why not, in one word.
        detail: Why not, in a sentence.
    """

    volume: str
    row: Mapping[str, Any] | None
    code: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Task:
    """All that it takes to prepare a volume, and nothing of the others.

    Attributes:
        item: The volume.
        recipe: What is done to it.
        out: The folder of the store.
        must_work: Whether a volume that can't be used is an error.
    """

    item: Item
    recipe: Recipe
    out: Path
    must_work: bool


def prepare_one(run: Run, task: Task) -> Outcome:
    """Prepare one volume, or say why it can't be.

    Raises:
        InputError: If it can't be used, and must.
        OutputError: If the disk is full or read-only: every other volume would fail as well.
    """
    try:
        (result,) = run(_outcome, [task])
    except MemoryError:
        result = SandboxFault("memory")
    if not isinstance(result, SandboxFault):
        outcome: Outcome = result
        return outcome
    code, detail = _FAULTS[result.kind]
    if task.must_work:
        raise InputError(f'case "{task.item.id}" can\'t be prepared: {detail}')
    return Outcome(task.item.id, None, code, detail)


def _outcome(task: Task) -> Outcome:
    volume = task.item.id
    try:
        stamp = task.item.stamp()
        return Outcome(volume, _kept(task, stamp) or _made(task, stamp))
    except (OutputError, MemoryError):
        raise  # one ends the run, the other the patience of whoever runs this
    except (InputError, OSError, ValueError) as error:
        if task.must_work:
            raise _as_input_error(volume, error) from error
        return Outcome(volume, None, str(getattr(error, "code", "unreadable")), _sentence(error))
    except Exception as error:
        if task.must_work:
            raise
        # One volume's fault must not end the run.
        return Outcome(volume, None, "corrupt", f"an unforeseen error ({type(error).__name__})")


def _kept(task: Task, stamp: str) -> dict[str, Any] | None:
    """Return the row of a volume that is there, whole, and of this recipe and content."""
    volume = task.item.id
    path = volume_path(task.out, volume)
    mask = volume_path(task.out, volume, label=True)
    if not path.is_file():
        return None
    try:
        file = VolumeFile(path, volume)
        file.prove()
        if file.note["recipe_hash"] != task.recipe.hash or file.note["stamp"] != stamp:
            return None
        if file.note["masked"]:
            VolumeFile(mask, volume).prove()
    except StoreError:
        return None
    return _row(task, file.note["row"], path, mask if file.note["masked"] else None)


def _made(task: Task, stamp: str) -> dict[str, Any]:
    """Prepare a volume, write it and return its row."""
    volume, recipe = task.item.id, task.recipe
    image, drawn = task.item.load()
    labels = None if drawn is None else recipe.apply_label(drawn)
    prepared = recipe.apply(image)
    del image, drawn
    facts = facts_of(prepared, labels)
    row = describe(prepared, facts)
    path, mask = (volume_path(task.out, volume, label=label) for label in (False, True))
    path.parent.mkdir(parents=True, exist_ok=True)
    note = {
        "id": volume,
        "recipe_hash": recipe.hash,
        "stamp": stamp,
        "coding": dataclasses.asdict(prepared.coding),
        "minimum": int(prepared.stored.min()),
        "facts": facts_to_note(facts),
        "masked": labels is not None,
        "row": row,
    }
    if labels is not None:
        write_volume(mask, labels, {"id": volume, "recipe_hash": recipe.hash})
    write_volume(path, prepared.stored, note)
    return _row(task, row, path, None if labels is None else mask)


def _row(task: Task, row: dict[str, Any], path: Path, mask: Path | None) -> dict[str, Any]:
    """Return the whole row of a volume that is written."""
    sums = {"checksum": file_checksum(path), "stored_bytes": path.stat().st_size}
    if mask is not None:
        sums["label_checksum"] = file_checksum(mask)
    return {**task.item.row, **row, **sums}


def _as_input_error(volume: str, error: Exception) -> InputError:
    """Return an error that names the volume, keeping one of ours as it is."""
    if isinstance(error, InputError):
        return error
    return InputError(f'case "{volume}" can\'t be prepared: {_sentence(error)}')


def _sentence(error: Exception) -> str:
    """Return why a volume failed, without the paths that errors of the system name."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
