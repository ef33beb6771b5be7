"""Checkpoints that survive a kill, a full disk and a flipped bit.

Lightning writes through the default temporary folder and moves the file over; with the run on
another file system and no space left, the old checkpoint is lost with the new one. Here the new
file is written beside the old, flushed, hashed and only then renamed; the generation before it is
kept.
"""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.fabric.plugins import CheckpointIO

from medssl.errors import InputError, OutputError, TrainingError
from medssl.io.atomic import atomic_path, write_text
from medssl.weights.pickled import load_pickled

__all__ = ["AtomicCheckpointIO", "Checkpoints", "continue_from", "newest_checkpoint"]

log = logging.getLogger(__name__)
PRE_ANNEAL = "pre_anneal.ckpt"
_NAME = re.compile(r"step-(\d+)\.ckpt$")


def _sidecar(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class AtomicCheckpointIO(CheckpointIO):
    """Lightning's way to the disk, with a temporary file beside the target and a hash."""

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | Path,
        storage_options: Any | None = None,  # noqa: ARG002 Lightning's signature
    ) -> None:
        """Write a checkpoint so that ``path`` holds either all of it or what was there before.

        Raises:
            OutputError: If the disk is too full; nothing that was there is touched.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        needed = 2 * sum(t.nbytes for t in _tensors(checkpoint))
        free = shutil.disk_usage(path.parent).free
        if free < needed:
            raise OutputError(
                f"a checkpoint needs {needed / 1e6:.0f} MB and {free / 1e6:.0f} MB are free in the "
                "run folder; older checkpoints are kept. Make room and resume"
            )
        with atomic_path(path) as temporary:
            torch.save(checkpoint, temporary)
            digest = _digest(temporary)
        write_text(_sidecar(path), digest + "\n")

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Any | None = None,
        weights_only: bool | None = None,  # noqa: ARG002 never anything but True
    ) -> dict[str, Any]:
        """Read a checkpoint of tensors and primitives whose hash is right.

        Raises:
            TrainingError: If the file is damaged.
        """
        path = Path(path)
        if not _verified(path):
            raise TrainingError(
                f"checkpoint {path.name} is damaged: its hash is not the one it was written with. "
                "Delete it and resume from the one before"
            )
        loaded: dict[str, Any] = load_pickled(path, map_location=map_location or "cpu")
        return loaded

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint and its hash."""
        Path(path).unlink(missing_ok=True)
        _sidecar(Path(path)).unlink(missing_ok=True)


def _tensors(tree: Any) -> list[torch.Tensor]:
    if isinstance(tree, torch.Tensor):
        return [tree]
    if isinstance(tree, Mapping):
        return [tensor for value in tree.values() for tensor in _tensors(value)]
    if isinstance(tree, list | tuple):
        return [tensor for value in tree for tensor in _tensors(value)]
    return []


def _verified(path: Path) -> bool:
    sidecar = _sidecar(path)
    return sidecar.is_file() and sidecar.read_text().strip() == _digest(path)


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint of a run whose hash is right, or none if there is no such file.

    Args:
        folder: The ``checkpoints`` folder of a run.
    """
    found = {int(m[1]): path for path in folder.glob("*.ckpt") if (m := _NAME.search(path.name))}
    for step in sorted(found, reverse=True):
        if _verified(found[step]):
            return found[step]
        log.warning("checkpoint %s is damaged and passed over", found[step].name)
    return None


def continue_from(earlier: Path, run: Path) -> int:
    """Put the state that a run had before its anneal into a new run, to be resumed from there.

    Args:
        earlier: The run folder to go on from.
        run: The new one.

    Returns:
        The step of that state.

    Raises:
        InputError: If the earlier run kept no such state.
    """
    source = earlier / "checkpoints" / PRE_ANNEAL
    if not source.is_file():
        raise InputError(
            f'"{earlier.name}" has no {PRE_ANNEAL} to go on from; runs keep it that were trained '
            "with optim.schedule infinite. To start from its weights alone, give --weights"
        )
    state = AtomicCheckpointIO().load_checkpoint(source)
    step = int(state["global_step"])
    AtomicCheckpointIO().save_checkpoint(state, run / "checkpoints" / f"step-{step}.ckpt")
    return step


class Checkpoints(Callback):
    """Saves every so many steps and at the end.

    Args:
        folder: Where the files ``step-N.ckpt`` go.
        every: Steps between two saves.
        keep: How many generations stay.
        before_anneal: Step after which the rate is annealed; its state is kept beside the rest as
            ``pre_anneal.ckpt``.
    """

    def __init__(
        self, folder: Path, *, every: int, keep: int = 2, before_anneal: int | None = None
    ) -> None:
        self.folder = folder
        self.every = every
        self.keep = keep
        self.before_anneal = before_anneal
        self._saved_step = -1
        self._plateau_step = -1

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Save when a multiple of ``every`` was reached."""
        # With accumulated gradients several batches end at one step; the first has just taken it.
        if trainer.global_step == self.before_anneal != self._plateau_step:
            self._plateau_step = trainer.global_step
            trainer.save_checkpoint(self.folder / PRE_ANNEAL)
        if trainer.global_step % self.every == 0 and trainer.global_step != self._saved_step:
            self.save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Save the last step."""
        self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Write the state of this step and drop what is older than ``keep`` generations."""
        step = trainer.global_step
        if step == self._saved_step or step == 0:
            return
        trainer.save_checkpoint(self.folder / f"step-{step}.ckpt")
        self._saved_step = step
        steps = sorted(int(m[1]) for p in self.folder.glob("*.ckpt") if (m := _NAME.search(p.name)))
        for old in steps[: -self.keep]:
            trainer.strategy.remove_checkpoint(self.folder / f"step-{old}.ckpt")
