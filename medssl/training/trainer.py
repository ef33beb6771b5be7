"""Puts a run together: device, precision, checkpoints, logs; and starts or resumes it."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from lightning import Callback, Trainer
from torch.utils.data import DataLoader, Dataset

from medssl.encoders.checkpointing import checkpoint_blocks
from medssl.errors import TrainingError
from medssl.sampling.partners import JointSampler
from medssl.sampling.places import Sampler as PlaceSampler
from medssl.training.callbacks import ProgressReporter
from medssl.training.checkpoint import AtomicCheckpointIO, Checkpoints, newest_checkpoint
from medssl.training.config import DataConfig, OptimConfig, TrainerConfig
from medssl.training.datamodules import CropDataset, GlobalBatches, crop_loader
from medssl.training.interrupt import GracefulStop
from medssl.training.labelled import LabelledStore, WithLabelled
from medssl.training.logger import MetricsCsv
from medssl.training.module import TrainingModule, TrainingPlan
from medssl.training.schedules import steps_of
from medssl.training.sources import CropSource
from medssl.types import Batch

__all__ = ["RunSettings", "bfloat16_pays", "choose_precision", "device_of", "train"]

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True)
class RunSettings:
    """The sections of a configuration that every run has."""

    data: DataConfig
    optim: OptimConfig
    trainer: TrainerConfig


def bfloat16_pays(device: Literal["cpu", "cuda", "mps"]) -> bool:
    """Say whether this hardware multiplies bfloat16 faster than float32.

    A CPU without bfloat16 instructions emulates them, some hundred times slower.
    """
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


def choose_precision(
    wanted: Literal["auto", "32", "bf16", "16"], device: Literal["cpu", "cuda", "mps"]
) -> Precision:
    """Return Lightning's name for the precision of a run.

    Args:
        wanted: As configured.
        device: What the run computes on.
    """
    if wanted == "auto":
        if bfloat16_pays(device):
            return "bf16-mixed"
        return "16-mixed" if device == "cuda" else "32-true"
    names: dict[str, Precision] = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
    return names[wanted]


def device_of(accelerator: str) -> Literal["cpu", "cuda", "mps"]:
    """Return what a run computes on: what it names, or the best that is there."""
    if accelerator in ("auto", "gpu") and torch.cuda.is_available():
        return "cuda"
    if accelerator in ("auto", "mps") and torch.backends.mps.is_available():
        return "mps"
    return "cpu"


def _build_trainer(
    settings: TrainerConfig,
    optim: OptimConfig,
    run: Path,
    callbacks: Sequence[Callback],
    resume_step: int,
) -> Trainer:
    device = device_of(settings.accelerator)
    devices: int | Literal["auto"] = settings.devices
    if device == "cpu" and devices == "auto":
        devices = 1
    return Trainer(
        default_root_dir=run,
        accelerator="auto" if settings.accelerator == "auto" else settings.accelerator,
        devices=devices,
        precision=choose_precision(settings.precision, device),
        max_steps=settings.steps,
        accumulate_grad_batches=settings.accumulate,
        gradient_clip_val=optim.clip_norm or None,
        log_every_n_steps=min(settings.log_every, settings.steps),
        logger=MetricsCsv(run / "metrics.csv", resume_step=resume_step),
        callbacks=[ProgressReporter(steps=settings.steps), *callbacks],
        plugins=[AtomicCheckpointIO()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        benchmark=device == "cuda",
    )


def train(
    module: TrainingModule,
    *,
    store: CropSource,
    volumes: Sequence[str],
    places: PlaceSampler | JointSampler,
    settings: RunSettings,
    run: Path,
    resume: bool = False,
    labels: bool = False,
    labelled: LabelledStore | None = None,
    callbacks: Sequence[Callback] = (),
) -> Trainer:
    """Train a method or task on the crops of a store, from the start or from its newest checkpoint.

    Args:
        module: What is trained; its plan is set here.
        store: Where crops are read.
        volumes: Ids that take part.
        places: Where crops are cut.
        settings: Data, optimiser and trainer sections.
        run: The run folder; gets ``metrics.csv`` and ``checkpoints``.
        resume: Whether to go on from the newest checkpoint whose hash is right.
        labels: Whether masks are read with the crops.
        labelled: Another store, whose crops and masks come beside these.
        callbacks: More callbacks, such as the collapse monitor.

    Raises:
        TrainingError: If a loss or gradient is not finite.
        KeyboardInterrupt: On Ctrl-C, after a checkpoint was written.
    """
    if settings.trainer.threads:
        torch.set_num_threads(settings.trainer.threads)
    if settings.trainer.gradient_checkpointing:
        checkpoint_blocks(module.encoder)
    module.plan = TrainingPlan(settings.optim, settings.trainer.steps, settings.trainer.seed)
    run.mkdir(parents=True, exist_ok=True)
    checkpoint = newest_checkpoint(run / "checkpoints") if resume else None
    first_step = 0 if checkpoint is None else int(checkpoint.stem.removeprefix("step-"))
    checkpoints = Checkpoints(
        run / "checkpoints",
        every=settings.trainer.checkpoint_every,
        before_anneal=_before_anneal(settings),
    )
    stop = GracefulStop(checkpoints)
    with _quiet_lightning():
        trainer = _build_trainer(
            settings.trainer, settings.optim, run, [*callbacks, checkpoints, stop], first_step
        )
        crops = CropDataset(
            store,
            volumes,
            places,
            settings.data.patch,
            seed=settings.trainer.seed,
            labels=labels,
            balance=settings.data.balance,
            integers=True,
        )
        samples = crops if labelled is None else WithLabelled(crops, labelled)
        loader = _loader(samples, settings, trainer, first_step)
        with stop:
            trainer.fit(module, loader, ckpt_path=checkpoint)
    if trainer.global_step < settings.trainer.steps:
        raise TrainingError(
            f"training ended at step {trainer.global_step} of {settings.trainer.steps} without a "
            "reason; resume it, and report this if it happens again"
        )
    return trainer


def _before_anneal(settings: RunSettings) -> int | None:
    """Return the last step of the plateau of an infinite schedule."""
    if settings.optim.schedule != "infinite":
        return None
    return settings.trainer.steps - steps_of(settings.optim.anneal, settings.trainer.steps)


def _loader(
    samples: Dataset[Batch], settings: RunSettings, trainer: Trainer, first_step: int
) -> DataLoader[Batch]:
    batches = GlobalBatches(
        settings.trainer.steps * settings.trainer.accumulate,
        settings.data.batch,
        first=first_step * settings.trainer.accumulate,
        rank=trainer.global_rank,
        world_size=trainer.world_size,
    )
    return crop_loader(samples, batches, workers=settings.data.workers)


@contextlib.contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keep Lightning's notes about devices, tips and its own deprecations out of the output."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*does not have many workers")
            # teachers and running means of the weights stay in evaluation mode
            warnings.filterwarnings("ignore", message=".*in eval mode at the start")
            # ours starts at the batch that is due, see GlobalBatches
            warnings.filterwarnings("ignore", message=".*dataloader is not resumable")
            warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated")
            yield
    finally:
        logger.setLevel(level)
