"""Which volumes of a cohort an encoder sees as the same, before they are prepared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from medssl.commands.session import CommandSession

if TYPE_CHECKING:
    from medssl.cohort.cohort import Cohort
    from medssl.cohort.crew import Crew, Run
    from medssl.cohort.reduce import Removed
    from medssl.types import Volume

__all__ = ["alike_volumes"]

_COLUMNS = ("id", "patient", "modality", "shape", "duplicate_of")


def alike_volumes(
    session: CommandSession, cohort: Cohort, weights: Path, threshold: float | None, crew: Crew
) -> frozenset[str]:
    """Return the volumes to leave out, and write them into ``reduced.csv``.

    Vectors are kept in the output folder until then, so that a run that was stopped goes on where
    it was. A volume that can't be read has none and stays; preparing will say why.

    Args:
        session: The command; its output is the store.
        cohort: All that was admitted; copies do not count.
        weights: An export folder, or a run that holds one.
        threshold: Least cosine similarity of what is alike; none takes the default.
        crew: Who reads; the encoder works here.

    Raises:
        InputError: If there are no weights, or the manifest is not valid.
        WeightsMismatchError: If they are damaged.
    """
    from medssl.cohort.reduce import write_removed
    from medssl.store.alike import DEFAULT_SIMILARITY, Vectors, find_alike_vectors
    from medssl.weights.load import find_export, load_encoder
    from medssl.weights.manifest import read_manifest

    least = DEFAULT_SIMILARITY if threshold is None else threshold
    every = cohort.table.select(_COLUMNS).to_pylist()
    places = [place for place, row in enumerate(every) if row["duplicate_of"] is None]
    rows = [every[place] for place in places]
    encoder, preprocess = load_encoder(weights)
    sha256 = read_manifest(find_export(weights) / "manifest.json").file.sha256
    vectors = Vectors(session.out, [row["id"] for row in rows], sha256)
    missing = vectors.missing()

    def embedded() -> Iterator[None]:
        from medssl.commands.embed import mean_vector

        tasks = ((number, cohort.only(places[number])) for number in missing)
        # Volumes wait for the encoder in memory, so only a few are read ahead.
        for number, volume in replace(crew, ahead=2).each(_read, tasks):
            if volume is not None:
                vectors.put(number, mean_vector(encoder, preprocess(volume)).numpy())
            yield

    for _ in session.progress(embedded(), total=len(missing), unit="volume", doing="embedding"):
        pass
    removed = find_alike_vectors(rows, vectors.all(), least)
    write_removed(session.out / "reduced.csv", removed)
    vectors.forget()
    session.record["reduced"] = len(removed)
    session.note(_words(len(rows), removed, least))
    return frozenset(entry.id for entry in removed)


def _read(run: Run, cohort: Cohort) -> Volume | None:
    """Read the only volume of a cohort; none if that fails."""
    from medssl.types import Volume

    (outcome,) = run(_volume, [cohort])
    return outcome if isinstance(outcome, Volume) else None


def _volume(cohort: Cohort) -> Volume | None:
    try:
        return cohort.read(cohort.ids[0])
    except (ValueError, OSError):
        return None


def _words(count: int, removed: Sequence[Removed], least: float) -> str:
    others = sum(not entry.same_patient for entry in removed)
    return (
        f"{len(removed)} of {count} volumes have nearly the vector of another (a similarity of "
        f"{least:g} or more) and are left out, see reduced.csv; {others} of them that of another "
        "patient's"
    )
