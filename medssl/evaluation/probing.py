"""What the features of an encoder know while it is being pretrained, by a labelled subset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning import Callback, Trainer
from torch import Tensor

from medssl.errors import DatasetError
from medssl.evaluation.monitor import embed_crops
from medssl.evaluation.probe import probe_classes
from medssl.methods.base import Method
from medssl.sampling.body import Body
from medssl.sampling.counter import rng
from medssl.store.store import Store
from medssl.types import Shape

__all__ = ["LabelledCrops", "ProbeMonitor", "labelled_crops"]

_A_LABEL = 3
"""Crops of each label of each case: what there is to tell apart, at a bounded cost."""


@dataclass(frozen=True)
class LabelledCrops:
    """Crops whose class is known.

    Attributes:
        crops: ``(C, *patch)`` each.
        targets: Class of each: the label in its middle, or the class of its case.
        patients: Patient of each.
    """

    crops: list[Tensor]
    targets: list[str]
    patients: list[str]


def labelled_crops(store: Store, patch: Shape, *, seed: int = 0) -> LabelledCrops:
    """Cut crops around labelled voxels, or anywhere on the body of cases with a class.

    Args:
        store: Made of a labelled dataset.
        patch: Voxels along each edge; two edges on volumes cut axial slices.
        seed: Decides where.

    Raises:
        DatasetError: If the cases have neither masks nor classes.
    """
    found = LabelledCrops([], [], [])
    names = {value: name for name, value in store.labels.items()}
    targets = store.table["target"].to_pylist() if "target" in store.table.column_names else None
    patients = store.table["patient"].to_pylist()
    for number, volume in enumerate(store.ids):
        draw = rng(seed, number)
        facts = store.facts(volume)
        size = (*patch, 1) if len(patch) < len(facts.shape) else tuple(patch)
        if facts.label_voxels:
            for value, voxels in sorted(facts.label_voxels.items()):
                for at in draw.permutation(len(voxels))[:_A_LABEL]:
                    start = voxels[at] - np.array(size) // 2
                    _add(found, store, volume, start, size, str(names[value]), patients[number])
        elif targets is not None and targets[number] is not None:
            for _ in range(_A_LABEL):
                start = np.array(Body().box(facts, size, draw).start)
                _add(found, store, volume, start, size, str(targets[number]), patients[number])
    if not found.crops:
        raise DatasetError("a probe needs cases with masks or classes, and these have neither")
    return found


def _add(
    found: LabelledCrops,
    store: Store,
    volume: str,
    start: npt.NDArray[Any],
    size: Shape,
    target: str,
    patient: str,
) -> None:
    crop = torch.from_numpy(store.read(volume, tuple(int(at) for at in start), size))
    found.crops.append(crop[..., 0] if size[-1] == 1 else crop)
    found.targets.append(target)
    found.patients.append(patient)


class ProbeMonitor(Callback):
    """Logs how well frozen features tell labelled crops apart, ``probe_linear`` and ``probe_knn``.

    Balanced accuracy of a linear probe and of nearest neighbours, each patient held out once. The
    encoder that would be exported is asked, and nothing of the run is touched.

    Args:
        known: What is asked.
        every: Steps between two looks; the state before the first step is looked at too.
    """

    def __init__(self, known: LabelledCrops, *, every: int) -> None:
        self.known = known
        self.every = every
        self._last_step = -1

    def on_train_start(self, trainer: Trainer, pl_module: Method) -> None:  # type: ignore[override]
        """Look at what the encoder knows before it learns."""
        if trainer.global_step == 0:
            self.look(trainer, pl_module)

    def on_train_batch_end(  # type: ignore[override]  # the only modules this watches
        self, trainer: Trainer, pl_module: Method, *_: Any
    ) -> None:
        """Look when it is time."""
        if trainer.global_step % self.every == 0 and trainer.global_step != self._last_step:
            self.look(trainer, pl_module)

    def look(self, trainer: Trainer, module: Method) -> None:
        """Fit both probes on the features of this step and log how they do."""
        self._last_step = trainer.global_step
        if not trainer.is_global_zero:
            return
        encoder = module.exported_encoder()
        features = embed_crops(encoder, self.known.crops, module.device).double().numpy()
        found = probe_classes(features, self.known.targets, self.known.patients, repeats=1)
        logged = {f"probe_{kind}": found[kind]["balanced_accuracy"].value for kind in found}
        for logger in trainer.loggers:
            logger.log_metrics(logged, step=max(0, trainer.global_step - 1))
