"""What a run can be told, beside its method, task and encoder: data, optimiser, trainer.

These are sections of the YAML files in ``pipelines/``. Each value lives in one place; whoever else
needs it asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from medssl.errors import ConfigError

__all__ = ["Balance", "DataConfig", "OptimConfig", "TrainerConfig"]

Balance = Literal["none", "patient", "study", "modality"]


@dataclass(frozen=True)
class DataConfig:
    """Where crops come from and how many are used at once.

    Attributes:
        patch: Edges of a crop in voxels, X Y Z; two numbers ask for axial slices or radiographs.
        batch: Crops (for methods that cut several at a place: places) in one pass of one device.
        workers: Processes that read crops; 0 reads in the training process.
        spacing_mm: Voxel size to fine-tune at; none keeps what the weights were trained at, or else
            the median of the labelled volumes. Pretraining takes the spacing of its store.
        validation: Share of the patients kept for validation where the dataset names no split.
        balance: What an epoch visits once. ``patient`` draws patients evenly, then the studies of
            each, then their series, so that one patient with forty series does not outweigh the
            others; where every patient has one volume it is the same as ``none``. ``study`` draws
            studies evenly, ``modality`` modalities and then as ``patient``; ``none`` every volume.
    """

    patch: tuple[int, ...] = (96, 96, 96)
    batch: int = 2
    workers: int = 2
    spacing_mm: tuple[float, ...] | None = None
    validation: float = 0.0
    balance: Balance = "patient"

    def __post_init__(self) -> None:
        if len(self.patch) not in (2, 3) or min(self.patch) < 1:
            raise ConfigError(f"data.patch is {self.patch}; expected two or three positive numbers")
        if self.batch < 1:
            raise ConfigError(f"data.batch is {self.batch}; expected at least 1")
        if not 0 <= self.validation < 1:
            raise ConfigError(f"data.validation is {self.validation}; expected a share in [0, 1)")


@dataclass(frozen=True)
class OptimConfig:
    """AdamW with a warm-up and a decay; norms, biases and tokens get no weight decay.

    Attributes:
        lr: Peak learning rate.
        weight_decay: Decay of matrices and kernels.
        final_weight_decay: Decay at the last step, reached along a cosine; none keeps it.
        betas: Averaging rates of AdamW.
        warmup: Share of the steps over which the rate rises from zero; 1 or more is a number of
            steps.
        schedule: ``cosine`` falls to ``lr * final_lr_ratio``; ``constant`` stays at ``lr``;
            ``infinite`` cools down to a plateau that can last as long as data keeps coming, and
            anneals at the end. The checkpoint before the anneal is kept as ``pre_anneal.ckpt``, for
            a longer run to go on from (``medssl pretrain --after RUN``).
        final_lr_ratio: Rate at the last step, as a share of ``lr``.
        plateau_lr_ratio: Of ``infinite``: the rate of the plateau, as a share of ``lr``.
        cooldown: Of ``infinite``: over which share or number of steps the rate falls to the plateau
            along a cosine, after the warm-up. A run that will be made longer wants numbers of steps
            for all three, since shares of a longer run are more steps.
        anneal: Of ``infinite``: the last share or number of steps, over which the rate falls
            exponentially.
        clip_norm: Largest norm of the gradient; larger ones are scaled down. 0 never clips.
        encoder_lr_ratio: Rate of the encoder as a share of the rest's; only fine-tuning lowers it.
        ema: Momentum of the running mean of the weights that fine-tuning predicts with; 0 is off.
    """

    lr: float = 1e-3
    weight_decay: float = 0.01
    final_weight_decay: float | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    warmup: float = 0.05
    schedule: Literal["cosine", "constant", "infinite"] = "cosine"
    final_lr_ratio: float = 0.0
    plateau_lr_ratio: float = 0.3
    cooldown: float = 0.2
    anneal: float = 0.1
    clip_norm: float = 1.0
    encoder_lr_ratio: float = 1.0
    ema: float = 0.0

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise ConfigError(f"optim.lr is {self.lr}; expected a positive learning rate")
        for name in ("warmup", "cooldown", "anneal"):
            if getattr(self, name) < 0:
                raise ConfigError(
                    f"optim.{name} is {getattr(self, name)}; expected a share of the steps below "
                    "1, or a number of steps"
                )
        if not 0 < self.plateau_lr_ratio <= 1:
            raise ConfigError(
                f"optim.plateau_lr_ratio is {self.plateau_lr_ratio}; expected a share in (0, 1]"
            )


@dataclass(frozen=True)
class TrainerConfig:
    """How long, on what, and how often to look.

    Attributes:
        steps: Optimiser steps of the whole run.
        accumulate: Batches whose gradients are added up for one step.
        devices: Number of devices; ``auto`` uses all that are there.
        accelerator: ``auto``, ``cpu``, ``gpu`` or ``mps``.
        precision: ``auto`` takes bfloat16 where the hardware multiplies it faster than float32.
        seed: With the number of the sample it decides every random choice.
        log_every: Steps between two rows of ``metrics.csv``.
        checkpoint_every: Steps between two checkpoints.
        monitor_every: Steps between two looks at rank and spread of the features; 0 never looks.
        gradient_checkpointing: Whether blocks of the encoder forget what they compute until the
            backward pass redoes it: far less memory, a third more time.
        compile: Whether to compile the network; pays on long GPU runs.
        threads: Threads of a CPU run; 0 takes one a core.
    """

    steps: int = 1000
    accumulate: int = 1
    devices: int | Literal["auto"] = "auto"
    accelerator: Literal["auto", "cpu", "gpu", "mps"] = "auto"
    precision: Literal["auto", "32", "bf16", "16"] = "auto"
    seed: int = 0
    log_every: int = 10
    checkpoint_every: int = 500
    monitor_every: int = 50
    gradient_checkpointing: bool = False
    compile: bool = False
    threads: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "accumulate", "log_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"trainer.{name} is {getattr(self, name)}; expected at least 1")
