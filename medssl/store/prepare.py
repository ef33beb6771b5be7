"""Fills a store: every volume of a source through one recipe, whatever happens to some of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import filelock

from medssl.cohort.cohort import Cohort
from medssl.cohort.crew import Crew
from medssl.cohort.datasets import LabelledDataset
from medssl.errors import InputError, StoreError, UsageError
from medssl.io.atomic import write_json
from medssl.store.layout import FORMAT, read_about
from medssl.store.one_volume import Outcome, Task, prepare_one
from medssl.store.recipe import Recipe
from medssl.store.sources import CohortSource, DatasetSource, Source
from medssl.store.store import Store
from medssl.store.table import Rows
from medssl.store.workers import each
from medssl.types import Modality

__all__ = ["Outcome", "Progress", "prepare_cohort", "prepare_dataset"]

Progress = Callable[[Iterable[Outcome], int], Iterable[Outcome]]
"""Passes outcomes on, one by one as they come, and shows how many of how many there were."""


def prepare_cohort(
    cohort: Cohort,
    out: Path,
    recipe: Recipe,
    *,
    without: Collection[str] = (),
    workers: int | None = None,
    crew: Crew | None = None,
    progress: Progress | None = None,
) -> Store:
    """Write the volumes of a cohort into a store.

    What an earlier, interrupted call with the same recipe wrote whole is kept. Volumes that can't
    be used are listed in ``quarantine.csv``.

    Args:
        cohort: Where the volumes come from.
        out: The folder of the store.
        recipe: What is done to each of them.
        without: Names of volumes that are left out.
        workers: Processes; none takes one a core where there is enough to do.
        crew: Who does it instead, say in children with limits, or on a cluster whose workers see
            the same folders.
        progress: Is shown every outcome.

    Raises:
        StoreError: If the folder holds a store of another recipe.
        InputError: If no volume could be used.
        OutputError: If the folder can't be written.
    """
    return _fill(out, CohortSource(cohort, without), recipe, workers, crew, progress)


def prepare_dataset(
    dataset: LabelledDataset,
    out: Path,
    recipe: Recipe,
    *,
    modality: Modality | None = None,
    workers: int | None = None,
    crew: Crew | None = None,
    progress: Progress | None = None,
) -> Store:
    """Write the cases of a labelled dataset into a store, with their masks, targets and splits.

    Args and errors are those of :func:`prepare_cohort`, and ``modality`` is what all images are to
    be taken for, as weights may demand; none or ``unknown`` believes each of them.
    """
    return _fill(out, DatasetSource(dataset, modality), recipe, workers, crew, progress)


def _fill(
    out: Path,
    source: Source,
    recipe: Recipe,
    workers: int | None,
    crew: Crew | None,
    progress: Progress | None,
) -> Store:
    """Prepare all volumes of a source and write the table that makes the folder a store."""
    _begin(out, source, recipe)
    # A worker may stand in another folder than this process.
    folder, count = out.resolve(), len(source)
    tasks = (Task(item, recipe, folder, source.every_one_counts) for item in source)
    with _sole_writer(out), Rows(out, count) as rows, Rows(out, count) as failures:

        def outcomes() -> Iterator[Outcome]:
            for number, outcome in each(prepare_one, tasks, count, workers=workers, crew=crew):
                if outcome.row is not None:
                    rows.put(number, outcome.row)
                else:
                    entry = {"id": outcome.volume, "code": outcome.code, "detail": outcome.detail}
                    failures.put(number, entry)
                yield outcome

        for _ in outcomes() if progress is None else progress(outcomes(), count):
            pass
        failures.write_csv(out / "quarantine.csv", ("id", "code", "detail"))
        if not len(rows):
            reason = "".join(f"; the first: {entry['detail']}" for entry in _first(failures))
            raise InputError(f"none of {count} volumes could be prepared{reason}")
        rows.write_parquet(out / "volumes.parquet")
        write_json(out / "store.json", _about(source, recipe, "finished"))
    return Store.open(out)


def _first(rows: Rows) -> Iterator[dict[str, Any]]:
    """Yield the first row, if there is one."""
    for row in rows:
        yield row
        return


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
