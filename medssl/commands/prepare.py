"""``medssl prepare``: from a cohort to a store of crops."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from medssl.commands.session import CommandSession

if TYPE_CHECKING:
    from medssl.cohort.cohort import Cohort
    from medssl.store.prepare import Outcome
    from medssl.store.recipe import Recipe
    from medssl.store.store import Store

__all__ = ["prepare"]

Spacing = tuple[float, float, float] | Literal["native", "median"]


def prepare(
    cohort: Path | Cohort,
    *,
    out: Path,
    spacing_mm: Spacing = "median",
    ct_window: tuple[int, int] = (-1000, 1000),
    workers: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> Store:
    """Write every volume of a cohort into a store: RAS+ axes, one spacing, one intensity scale.

    CT is stored in Hounsfield units and windowed when it is read. Other modalities are cut at the
    percentiles 0.5 and 99.5 of the body and get mean 0 and deviation 1 there. What can't be used
    is listed in quarantine.csv and does not stop the rest.

    Args:
        cohort: The folder that medssl index wrote.
        out: Folder of the store.
        spacing_mm: Voxel size in mm along X Y Z, or native to keep each volume's own, or median for
            that of the cohort.
        ct_window: Hounsfield units that become -1 and 1; what lies beyond is cut off.
        workers: Processes; by default one a core where there is enough to do.
        overwrite: Replace a store that is there.
        resume: Go on with a store that was interrupted; damaged volumes are written anew.

    Returns:
        The store.

    Raises:
        InputError: If the cohort is none, or no volume of it could be used.
        StoreError: If resuming a store of another recipe.

    Example:
        medssl prepare cohort --out store --spacing 1.5 1.5 1.5
    """
    options = {
        "spacing_mm": spacing_mm, "ct_window": ct_window, "workers": workers, "resume": resume,
    }  # fmt: skip
    with CommandSession(
        "prepare", out=out, overwrite=overwrite, resume=resume, options=options
    ) as session:
        return _run(session, cohort, Path(out), spacing_mm, ct_window, workers)


def _run(
    session: CommandSession,
    cohort: Path | Cohort,
    out: Path,
    spacing_mm: Spacing,
    ct_window: tuple[int, int],
    workers: int | None,
) -> Store:
    from medssl.cohort.cohort import Cohort
    from medssl.store.prepare import prepare_cohort

    source = cohort if isinstance(cohort, Cohort) else Cohort.open(Path(cohort))
    recipe = _recipe(source, spacing_mm, ct_window)
    if spacing_mm == "median" and recipe.spacing_mm is not None:
        edges = " x ".join(f"{edge:g}" for edge in recipe.spacing_mm)
        session.note(f"voxels of {edges} mm, the median of the cohort (--spacing sets another)")
    failed: list[Outcome] = []

    def watch(outcomes: Iterable[Outcome], total: int) -> Iterable[Outcome]:
        for outcome in session.progress(outcomes, total=total, unit="volume", doing="preparing"):
            if outcome.row is None:
                failed.append(outcome)
                session.note(f"left out {outcome.volume}: {outcome.detail}")
            yield outcome

    store = prepare_cohort(source, out, recipe, workers=workers, progress=watch)
    stored = sum(store.table["stored_bytes"].to_pylist())
    session.record.update(
        {"recipe_hash": recipe.hash, "volumes": len(store), "left_out": len(failed)}
    )
    session.hash_output(out / "volumes.parquet")
    session.summary(
        [
            f"{len(store)} volumes, {stored / 1e6:.1f} MB, recipe {recipe.hash}",
            *([f"{len(failed)} left out, see quarantine.csv"] if failed else []),
        ],
        next_step=f"medssl pretrain --config FILE --data {out} --out RUN",
    )
    return store


def _recipe(cohort: Cohort, spacing_mm: Spacing, ct_window: tuple[int, int]) -> Recipe:
    """Return the recipe that the options ask for."""
    from medssl.store.recipe import Recipe, Window
    from medssl.store.sources import median_spacing_mm

    rows = [cohort.row(volume) for volume in cohort.ids]
    edges: tuple[float, ...] | None
    if spacing_mm == "native" or all(len(row["shape"]) == 2 for row in rows):
        edges = None
    elif spacing_mm == "median":
        edges = median_spacing_mm(rows)
    else:
        edges = tuple(float(edge) for edge in spacing_mm)
    return Recipe(spacing_mm=edges, ct=Window(*ct_window))
