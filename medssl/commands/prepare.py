"""``medssl prepare``: from a cohort to a store of crops."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from medssl.commands.session import CommandSession
from medssl.errors import UsageError

if TYPE_CHECKING:
    from medssl.cohort.cohort import Cohort
    from medssl.cohort.crew import Crew
    from medssl.store.fingerprint import Fingerprint
    from medssl.store.prepare import Outcome
    from medssl.store.recipe import Recipe
    from medssl.store.store import Store

__all__ = ["prepare"]

Spacing = tuple[float, float, float] | tuple[float, float] | Literal["native", "median"]

_NAMED = 10
"""Volumes that are left out and named one by one; all are in quarantine.csv."""


def prepare(  # noqa: PLR0913 - an argument for each option of the command
    cohort: Path | Cohort,
    *,
    out: Path,
    spacing_mm: Spacing = "median",
    ct_window: tuple[int, int] = (-1000, 1000),
    reduce: Literal["none", "embedding"] = "none",
    weights: Path | None = None,
    threshold: float | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    seconds: float = 300.0,
    memory_gb: float | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> Store:
    """Write every volume of a cohort into a store: RAS+ axes, one spacing, one intensity scale.

    CT is stored in Hounsfield units and windowed when it is read. Other modalities are cut at the
    percentiles 0.5 and 99.5 of the body and get mean 0 and deviation 1 there. What can't be used
    is listed in quarantine.csv and does not stop the rest: volumes are prepared in processes of
    their own, with limits on memory and time. Before anything is written, what is to come is said:
    voxel size and reasons, and how much room the store will take.

    Args:
        cohort: The folder that medssl index wrote.
        out: Folder of the store.
        spacing_mm: Voxel size in mm along X Y Z, or native to keep each volume's own, or median for
            that of the cohort.
        ct_window: Hounsfield units that become -1 and 1; what lies beyond is cut off.
        reduce: With embedding, of volumes that an encoder sees as the same one is kept; what is
            left out is in reduced.csv.
        weights: With --reduce embedding, an export folder, a run that holds one, a published file,
            or an id of the zoo.
        threshold: With --reduce embedding, the least cosine similarity of two volumes that count as
            alike; by default 0.998.
        workers: Processes; by default one a core, eight at most.
        scheduler: Address of a Dask cluster that prepares instead, such as tcp://host:8786; its
            workers see sources and store under the same paths.
        seconds: Longest that one volume may take.
        memory_gb: Most memory that one volume may take; by default the machine's, shared out.
        overwrite: Replace a store that is there.
        resume: Go on with a store that was interrupted; damaged volumes are written anew.

    Returns:
        The store.

    Raises:
        InputError: If the cohort is none, or no volume of it could be used.
        OutputError: If the disk can't hold the store.
        StoreError: If resuming a store of another recipe.
        UsageError: If options are out of range or do not go together.

    Example:
        medssl prepare cohort --out store --spacing 1.5 1.5 1.5
    """
    _check(reduce, weights, threshold, {"--workers": workers, "--seconds": seconds})
    from medssl.cohort.crew import open_crew

    options = {
        "spacing_mm": spacing_mm, "ct_window": ct_window, "reduce": reduce, "weights": weights,
        "threshold": threshold, "workers": workers, "seconds": seconds, "memory_gb": memory_gb,
        "resume": resume, "scheduler": scheduler is not None,
    }  # fmt: skip
    with (
        CommandSession(
            "prepare", out=out, overwrite=overwrite, resume=resume, options=options
        ) as session,
        open_crew(
            workers,
            scheduler=scheduler,
            seconds=seconds,
            memory_bytes=None if memory_gb is None else round(memory_gb * 2**30),
        ) as crew,
    ):
        source = _opened(cohort)
        without: frozenset[str] = frozenset()
        if weights is not None:
            from medssl.commands.reduction import alike_volumes

            without = alike_volumes(session, source, weights, threshold, crew)
        return _run(session, source, Path(out), spacing_mm, ct_window, without, crew)


def _check(
    reduce: str,
    weights: Path | None,
    threshold: float | None,
    at_least_one: dict[str, float | None],
) -> None:
    """Refuse options that are out of range or make no sense together."""
    for name, value in at_least_one.items():
        if value is not None and not value >= 1:
            raise UsageError(f"{name} is {value:g}; expected at least 1")
    if (reduce == "embedding") != (weights is not None):
        raise UsageError("--reduce embedding and --weights go together; give both or neither")
    if threshold is not None and (weights is None or not 0 < threshold <= 1):
        raise UsageError(
            "--threshold goes with --reduce embedding and is a similarity above 0, at most 1"
        )


def _opened(cohort: Path | Cohort) -> Cohort:
    from medssl.cohort.cohort import Cohort

    return cohort if isinstance(cohort, Cohort) else Cohort.open(Path(cohort))


def _run(
    session: CommandSession,
    cohort: Cohort,
    out: Path,
    spacing_mm: Spacing,
    ct_window: tuple[int, int],
    without: frozenset[str],
    crew: Crew,
) -> Store:
    from medssl.store.fingerprint import check_room, fingerprint_of
    from medssl.store.prepare import prepare_cohort

    fingerprint = fingerprint_of(cohort, without)
    recipe = _recipe(fingerprint, spacing_mm, ct_window)
    if len(fingerprint):
        if spacing_mm == "median" and recipe.spacing_mm is not None:
            edges = " x ".join(f"{edge:g}" for edge in recipe.spacing_mm)
            session.note(f"voxels of {edges} mm, the median of the cohort (--spacing sets another)")
        for reason in fingerprint.reasons(recipe.spacing_mm):
            session.note(f"  {reason}")
        room = check_room(fingerprint.voxels(recipe.spacing_mm), out)
        session.note(f"{len(fingerprint)} volumes, {room}")
    failed = 0

    def watch(outcomes: Iterable[Outcome], total: int) -> Iterable[Outcome]:
        nonlocal failed
        for outcome in session.progress(outcomes, total=total, unit="volume", doing="preparing"):
            if outcome.row is None:
                failed += 1
                if failed <= _NAMED:
                    session.note(f"left out {outcome.volume}: {outcome.detail}")
            yield outcome

    store = prepare_cohort(cohort, out, recipe, without=without, crew=crew, progress=watch)
    stored = sum(store.table["stored_bytes"].to_pylist())
    session.record.update({"recipe_hash": recipe.hash, "volumes": len(store), "left_out": failed})
    session.hash_output(out / "volumes.parquet")
    session.summary(
        [
            f"{len(store)} volumes, {stored / 1e6:.1f} MB, recipe {recipe.hash}",
            *([f"{failed} left out, see quarantine.csv"] if failed else []),
        ],
        next_step=f"medssl pretrain --config FILE --data {out} --out RUN",
    )
    return store


def _recipe(fingerprint: Fingerprint, spacing_mm: Spacing, ct_window: tuple[int, int]) -> Recipe:
    """Return the recipe that the options ask for."""
    from medssl.store.recipe import Recipe, Window

    edges: tuple[float, ...] | None
    if spacing_mm == "native" or fingerprint.is_planar.all():
        edges = None
    elif spacing_mm == "median":
        edges = fingerprint.median_spacing_mm
    else:
        edges = tuple(float(edge) for edge in spacing_mm)
    return Recipe(spacing_mm=edges, ct=Window(*ct_window))
