"""Fills a store: every volume of a source through one recipe, whatever happens to some of them."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import filelock
import pyarrow as pa
import pyarrow.parquet as pq

from medssl.cohort.cohort import Cohort
from medssl.cohort.datasets import LabelledDataset
from medssl.errors import InputError, OutputError, StoreError, UsageError
from medssl.io.atomic import atomic_path, write_json, write_text
from medssl.store.note import describe, facts_of, facts_to_note
from medssl.store.recipe import Recipe
from medssl.store.sources import CohortSource, DatasetSource, Source
from medssl.store.store import FORMAT, Store, read_about, volume_path
from medssl.store.volume_file import VolumeFile, file_checksum, write_volume
from medssl.store.workers import each
from medssl.types import Modality

__all__ = ["Outcome", "Progress", "prepare_cohort", "prepare_dataset"]


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


Progress = Callable[[Iterable[Outcome], int], Iterable[Outcome]]
"""Passes outcomes on, one by one, and shows how many of how many there were."""


def prepare_cohort(
    cohort: Cohort,
    out: Path,
    recipe: Recipe,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Store:
    """Write the volumes of a cohort into a store.

    What an earlier, interrupted call with the same recipe wrote whole is kept. Volumes that can't
    be used are listed in ``quarantine.csv``.

    Args:
        cohort: Where the volumes come from.
        out: The folder of the store.
        recipe: What is done to each of them.
        workers: Processes; none takes one a core where there is enough to do.
        progress: Is shown every outcome.

    Raises:
        StoreError: If the folder holds a store of another recipe.
        InputError: If no volume could be used.
        OutputError: If the folder can't be written.
    """
    return _fill(out, CohortSource(cohort), recipe, workers, progress)


def prepare_dataset(
    dataset: LabelledDataset,
    out: Path,
    recipe: Recipe,
    *,
    modality: Modality | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Store:
    """Write the cases of a labelled dataset into a store, with their masks, targets and splits.

    Args and errors are those of :func:`prepare_cohort`, and ``modality`` is what all images are to
    be taken for, as weights may demand; none or ``unknown`` believes each of them.
    """
    return _fill(out, DatasetSource(dataset, modality), recipe, workers, progress)


def _fill(
    out: Path, source: Source, recipe: Recipe, workers: int | None, progress: Progress | None
) -> Store:
    """Prepare all volumes of a source and write the table that makes the folder a store."""
    _begin(out, source, recipe)
    with _sole_writer(out):
        ids = list(source.ids)
        outcomes: Iterable[Outcome] = each(_Job(source, recipe, out), ids, workers)
        if progress is not None:
            outcomes = progress(outcomes, len(ids))
        done = list(outcomes)
        rows = [outcome.row for outcome in done if outcome.row is not None]
        _write_quarantine(out, [outcome for outcome in done if outcome.row is None])
        if not rows:
            reason = f"; the first: {done[0].detail}" if done else ""
            raise InputError(f"none of {len(done)} volumes could be prepared{reason}")
        # Paths below a cohort's source may name patients, so only the user may read them.
        with atomic_path(out / "volumes.parquet", mode=0o600) as temporary:
            pq.write_table(pa.Table.from_pylist(rows), temporary, compression="zstd")
        write_json(out / "store.json", _about(source, recipe, "finished"))
    return Store.open(out)


@dataclass(frozen=True)
class _Job:
    """All that it takes to prepare a volume; sent to workers once."""

    source: Source
    recipe: Recipe
    out: Path

    def __call__(self, volume: str) -> Outcome:
        """Prepare one volume, or say why it can't be."""
        try:
            stamp = self.source.stamp(volume)
            return Outcome(volume, self._kept(volume, stamp) or self._made(volume, stamp))
        except OutputError:
            # The disk is full or read-only: every other volume would fail as well.
            raise
        except (InputError, OSError, ValueError, MemoryError) as error:
            if self.source.every_one_counts:
                raise _as_input_error(volume, error) from error
            code = str(getattr(error, "code", "unreadable"))
            return Outcome(volume, None, code, _sentence(error))

    def _kept(self, volume: str, stamp: str) -> dict[str, Any] | None:
        """Return the row of a volume that is there, whole, and of this recipe and content."""
        path = volume_path(self.out, volume)
        mask = volume_path(self.out, volume, label=True)
        if not path.is_file():
            return None
        try:
            file = VolumeFile(path, volume)
            file.prove()
            if file.note["recipe_hash"] != self.recipe.hash or file.note["stamp"] != stamp:
                return None
            if file.note["masked"]:
                VolumeFile(mask, volume).prove()
        except StoreError:
            return None
        return self._row(volume, file.note["row"], path, mask if file.note["masked"] else None)

    def _made(self, volume: str, stamp: str) -> dict[str, Any]:
        """Prepare a volume, write it and return its row."""
        image, drawn = self.source.load(volume)
        prepared = self.recipe.apply(image)
        labels = None if drawn is None else self.recipe.apply_label(drawn)
        facts = facts_of(prepared, labels)
        row = describe(prepared, facts)
        path, mask = (volume_path(self.out, volume, label=label) for label in (False, True))
        path.parent.mkdir(parents=True, exist_ok=True)
        note = {
            "id": volume,
            "recipe_hash": self.recipe.hash,
            "stamp": stamp,
            "coding": dataclasses.asdict(prepared.coding),
            "minimum": int(prepared.stored.min()),
            "facts": facts_to_note(facts),
            "masked": labels is not None,
            "row": row,
        }
        if labels is not None:
            write_volume(mask, labels, {"id": volume, "recipe_hash": self.recipe.hash})
        write_volume(path, prepared.stored, note)
        return self._row(volume, row, path, None if labels is None else mask)

    def _row(
        self, volume: str, row: dict[str, Any], path: Path, mask: Path | None
    ) -> dict[str, Any]:
        """Return the whole row of a volume that is written."""
        sums = {"checksum": file_checksum(path), "stored_bytes": path.stat().st_size}
        if mask is not None:
            sums["label_checksum"] = file_checksum(mask)
        return {**self.source.row(volume), **row, **sums}


def _begin(out: Path, source: Source, recipe: Recipe) -> None:
    """Mark a folder as a store in the making, unless it is one of something else."""
    if (out / "store.json").is_file():
        written = read_about(out)["recipe_hash"]
        if written != recipe.hash:
            raise StoreError(
                f'the store "{out.name}" was made with another recipe ({written}, not '
                f"{recipe.hash}), and one store holds one; give --overwrite or another --out"
            )
    (out / "data").mkdir(parents=True, exist_ok=True)
    for left_over in out.glob("data/*/.*.part.*"):
        left_over.unlink(missing_ok=True)
    write_json(out / "store.json", _about(source, recipe, "unfinished"))


def _about(source: Source, recipe: Recipe, state: str) -> dict[str, Any]:
    """Return the content of ``store.json``."""
    return {
        "format": FORMAT,
        "state": state,
        "medssl_version": version("medssl"),
        "recipe": recipe.to_dict(),
        "recipe_hash": recipe.hash,
        "labels": dict(source.labels),
    }


@contextmanager
def _sole_writer(out: Path) -> Iterator[None]:
    """Hold the right to write a store; readers need none."""
    lock = filelock.FileLock(out / ".writer.lock", timeout=0)
    try:
        with lock:
            yield
    except filelock.Timeout as error:
        raise UsageError(
            f'another process is writing the store "{out.name}"; wait for it or give another --out'
        ) from error


def _write_quarantine(out: Path, failures: list[Outcome]) -> None:
    """Write the table of volumes that could not be used; it has a head even if it is empty."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["id", "code", "detail"])
    table.writerows([failure.volume, failure.code, failure.detail] for failure in failures)
    write_text(out / "quarantine.csv", text.getvalue())


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
