"""What a pretraining run takes beside its store: weights, cases to ask, cases to learn from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medssl.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from lightning import Callback

    from medssl.methods.base import Method
    from medssl.store.store import Store
    from medssl.training.labelled import LabelledStore
    from medssl.training.trainer import RunSettings

__all__ = ["Beside", "labelled_store", "probe_monitor"]


@dataclass(frozen=True)
class Beside:
    """What a run takes beside its store, each as a user named it."""

    weights: Path | None = None
    probe: Path | None = None
    labels: Path | None = None


def probe_monitor(store: Store, dataset: Path, out: Path, settings: RunSettings) -> Callback:
    """Cut the crops of a probe out of its cases, prepared as the store's volumes were."""
    from medssl.evaluation.probing import ProbeMonitor, labelled_crops

    cases = _prepared_alike(dataset, out / "probe", store)
    known = labelled_crops(cases, settings.data.patch, seed=settings.trainer.seed)
    return ProbeMonitor(known, every=settings.trainer.monitor_every)


def labelled_store(
    method: Method, dataset: Path | None, store: Store, out: Path
) -> LabelledStore | None:
    """Return the cases with masks that a method learns from beside, if it does.

    Raises:
        UsageError: If a dataset is given and nothing learns from it, or the other way round.
        ConfigError: If the method was built for another number of labels.
    """
    if dataset is None:
        if method.classes:
            raise UsageError(
                f"method.classes is {method.classes}, and no --labels was given; name the dataset "
                "whose masks are to be learnt from, or set method.classes 0"
            )
        return None
    if not method.classes:
        raise UsageError(
            "--labels was given, and the method learns from no labels; take method joint and set "
            "method.classes to their number"
        )
    cases = _prepared_alike(Path(dataset), out / "labels", store)
    if len(cases.labels) != method.classes:
        raise ConfigError(
            f"method.classes is {method.classes}, and the masks of --labels know "
            f"{len(cases.labels)}: {', '.join(cases.labels)}; set method.classes to that number"
        )
    return cases


def _prepared_alike(dataset: Path, folder: Path, store: Store) -> Store:
    """Prepare labelled cases by the recipe of a store."""
    from medssl.cohort.datasets import open_dataset
    from medssl.store.prepare import prepare_dataset

    return prepare_dataset(open_dataset(dataset), folder, store.recipe, workers=0)
