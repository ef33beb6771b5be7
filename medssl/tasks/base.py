"""The contract of a task: what is learnt from labelled cases, on top of an encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol

import numpy.typing as npt
import torch
from torch import Tensor

from medssl.cohort.datasets import Case
from medssl.encoders.base import Encoder
from medssl.errors import ConfigError
from medssl.parts.teacher import Teacher
from medssl.registry import Registry
from medssl.sampling.places import Sampler
from medssl.tasks.networks import TaskNetwork
from medssl.training.module import TrainingModule
from medssl.training.sources import CropSource
from medssl.transforms.presets import segmentation_augmentation
from medssl.types import Modality, Shape
from medssl.weights.manifest import TaskRecord

__all__ = ["TASKS", "LabelledSource", "Task", "list_tasks", "whole"]

TASKS: Registry[type[Task]] = Registry("task")

AVERAGE_WARMUP_STEPS = 10
"""The running mean of the weights starts short and grows, so that it forgets the first steps."""


class LabelledSource(CropSource, Protocol):
    """What a task needs of a store to measure itself on whole volumes."""

    def row(self, volume: str) -> Mapping[str, Any]:
        """Return the facts of a volume; ``minimum`` is its lowest normalised value."""


class Task(TrainingModule):
    """Something that is learnt from labels.

    A subclass says where crops come from (:meth:`places`), what network answers
    (:meth:`build_network`), what is minimised (``compute_losses``) and how good an answer is
    (:meth:`score`).

    Args:
        encoder: Pretrained, or fresh for a run from scratch; it is trained further.
        labels: What there is to tell apart: names and their values. In masks 0 is the background
            and has no name; classes are numbered from 0.
        patch: Edges of a crop in voxels.
        augmentation: How strongly training crops are turned, bent and recoloured; 0 is not at all,
            1 the usual.
        frozen_share: Share of the steps during which the encoder stays as it was given, while the
            head, which starts from chance, finds its feet.

    Attributes:
        name: As in configurations.
        reads_masks: Whether the labels are masks.
        network: The encoder with its head.
        average: The running mean of the network's weights, if the plan asks for one.
    """

    name: ClassVar[str]
    reads_masks: ClassVar[bool]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        TASKS.register(cls.name)(cls)

    def __init__(
        self,
        *,
        encoder: Encoder,
        labels: Mapping[str, int],
        patch: Shape,
        augmentation: float = 1.0,
        frozen_share: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= frozen_share < 1:
            raise ConfigError(f"task.frozen_share is {frozen_share}; expected a share in [0, 1)")
        self.labels = dict(labels)
        self.patch = tuple(patch)
        self.strength = augmentation
        self.augment = segmentation_augmentation(augmentation)
        self.frozen_share = frozen_share
        self.average: Teacher[TaskNetwork] | None = None
        self.network = self.build_network(encoder, len(self.labels), self.options())

    @property
    def encoder(self) -> Encoder:  # type: ignore[override]  # the network owns it
        """The encoder inside the network."""
        return self.network.encoder

    @classmethod
    def build_network(
        cls, encoder: Encoder, labels: int, options: Mapping[str, Any]
    ) -> TaskNetwork:
        """Return the network that answers.

        Args:
            encoder: Features.
            labels: How many labels or classes there are.
            options: As :meth:`options` gave them.
        """
        raise NotImplementedError

    def record(self) -> TaskRecord:
        """Return what the manifest of a model says of its task."""
        name: Any = self.name
        if self.reads_masks:
            return TaskRecord(name, labels=self.labels, options=self.options())
        return TaskRecord(name, classes=tuple(self.labels), options=self.options())

    def options(self) -> dict[str, Any]:
        """Return what must be known, beside the labels, to build the network again; primitives."""
        return {}

    def places(self) -> Sampler:
        """Return the sampler that says where in a volume to look."""
        raise NotImplementedError

    def learn_from(
        self, cases: Sequence[Case], *, modality: Modality, spacing_mm: tuple[float, ...]
    ) -> None:
        """Be told what is trained on, before the first step.

        Args:
            cases: The training cases.
            modality: What made their images; ``unknown`` for a mixture.
            spacing_mm: Their voxel size once prepared.
        """
        del cases  # of use to tasks whose truth is not in the crops
        kind: Literal["ct", "mr", "other"] = modality if modality in ("ct", "mr") else "other"
        self.augment = segmentation_augmentation(
            self.strength, modality=kind, spacing_mm=spacing_mm[: len(self.patch)]
        )

    def score(self, answer: Tensor, case: Case, mask: npt.NDArray[Any]) -> dict[str, float]:
        """Return how good an answer is, by the name of the figure; NaN where it has no meaning.

        Args:
            answer: What the network answered for a whole volume, on the CPU.
            case: The case.
            mask: The true mask on the store's grid; empty for tasks without masks.
        """
        raise NotImplementedError

    def finished_network(self) -> TaskNetwork:
        """Return the network to answer with: the mean of the last steps if there is one."""
        return self.network if self.average is None else self.average.module

    def configure_model(self) -> None:
        """Start the running mean; Lightning calls this before it loads a checkpoint."""
        if self.plan.optim.ema > 0 and self.average is None:
            self.average = Teacher(self.network)

    def on_train_batch_start(self, *_: object) -> None:
        """Hold the encoder still, or let it go, as the step demands."""
        self.encoder.requires_grad_(self.global_step >= self.frozen_share * self.plan.steps)

    def after_step(self, step: int) -> None:
        """Let the running mean follow."""
        if self.average is not None:
            ramp = (1 + step) / (AVERAGE_WARMUP_STEPS + step)
            self.average.update(self.network, min(self.plan.optim.ema, ramp))

    @torch.no_grad()
    def answer(self, store: LabelledSource, volume: str) -> Tensor:
        """Return the answer for a whole volume of a store, on the CPU."""
        image = torch.from_numpy(store.read(volume, *whole(store, volume)))
        network = self.finished_network()
        was_training = network.training
        network.eval()
        try:
            return network.answer(
                image,
                patch=self.patch,
                pad_value=float(store.row(volume)["minimum"]),
                device=self.device,
            )
        finally:
            network.train(was_training)


def whole(store: LabelledSource, volume: str) -> tuple[Shape, Shape]:
    """Return start and size of the box that holds all of a volume."""
    shape = tuple(int(size) for size in store.row(volume)["shape"])
    return (0,) * len(shape), shape


def list_tasks() -> list[str]:
    """Return the names of all tasks."""
    return list(TASKS)
