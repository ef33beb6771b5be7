"""The contract of a self-supervised method."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from medssl.encoders.base import Encoder
from medssl.errors import ConfigError
from medssl.registry import Registry
from medssl.sampling.partners import JointSampler
from medssl.sampling.places import Sampler
from medssl.training.module import TrainingModule
from medssl.transforms.fourier import BatchStyle
from medssl.transforms.views import ViewRecipe
from medssl.types import Batch, Losses, Picture, Shape

__all__ = ["METHODS", "Method", "Targets", "lesson", "list_methods"]

Targets = Mapping[str, Any]
"""Tensors by name; ``frames`` is a list of them."""

METHODS: Registry[type[Method]] = Registry("method")


class Method(TrainingModule):
    """A way of learning from volumes without labels.

    A subclass says where crops come from (:meth:`places`), what is done to them (:meth:`views`) and
    what is asked of the encoder (:meth:`loss`). It knows the encoder by its contract only, so that
    the same file trains CNN and transformer, in 2D and 3D. It never reads a file, logs, seeds or
    schedules.

    Args:
        encoder: What is trained.
        patch: Edges of a crop in voxels.
        batch_style: Chance that all images of a view take over the low frequencies of one of them,
            so that scanners can't be told apart within a view; for data of many scanners. See
            :class:`~medssl.transforms.fourier.BatchStyle`.

    Attributes:
        name: The paper's name in lower case, as in configurations.
        couples_samples: Whether the loss of one place depends on the others of its batch, so that
            accumulating gradients over small batches is not the same as one large batch.
        wants_frames: Whether the loss is told from where in its crop each view was read: target
            ``frames`` then holds one ``(B * crops, d, d + 1)`` a view, see
            :mod:`medssl.transforms.frames`.
        classes: How many labels the loss learns from beside; targets ``labelled`` and ``label`` are
            then those of :class:`~medssl.training.labelled.WithLabelled`.
    """

    name: ClassVar[str]
    couples_samples: ClassVar[bool] = False
    wants_frames: ClassVar[bool] = False
    classes: int = 0

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" in vars(cls):  # what several methods share has none
            METHODS.register(cls.name)(cls)

    def __init__(self, *, encoder: Encoder, patch: Shape, batch_style: float = 0.0) -> None:
        super().__init__()
        if not 0 <= batch_style <= 1:
            raise ConfigError(f"batch_style was {batch_style}; it is a chance, from 0 to 1")
        self.encoder = encoder
        self.patch = tuple(patch)
        self.style = BatchStyle(p=batch_style) if batch_style else None

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return options of the smallest form that still has every part, for a crop of 16 voxels.

        Tests and dry runs build it; what it learns is of no use.
        """
        return {}

    @classmethod
    def options(cls) -> set[str]:
        """Return the names of all keyword arguments, those of the classes that it extends too."""
        return {
            name
            for kind in cls.__mro__
            if issubclass(kind, Method)
            for name, parameter in inspect.signature(kind).parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY
        }

    @property
    def progress(self) -> float:
        """How much of the run is done, from 0 to 1: what schedules of a method go by."""
        return min(1.0, self.global_step / max(1, self.plan.steps))

    def places(self) -> Sampler | JointSampler:
        """Return the sampler that says where in a volume to look."""
        raise NotImplementedError

    def views(self) -> ViewRecipe:
        """Return what is done to the crops of a place before the loss sees them."""
        raise NotImplementedError

    def loss(self, views: Sequence[Tensor], targets: Targets, generator: torch.Generator) -> Losses:
        """Return the loss of one batch of views; a function of tensors alone.

        Args:
            views: As :meth:`views` made them, each ``(B * crops, C, *patch)``.
            targets: What the sampler knows of the crops, each ``(B, …)``, and the frames of the
                views where the method wants them.
            generator: Source of masks and other draws, on the device of the views.
        """
        raise NotImplementedError

    def pictures(self, batch: Batch, generator: torch.Generator) -> list[Picture]:  # noqa: ARG002
        """Return pictures of what was asked and answered, for the report of a run."""
        return []

    def exported_encoder(self) -> Encoder:
        """Return the encoder that users get: the student's, unless a method says otherwise."""
        return self.encoder

    def make_views(self, batch: Batch, generator: torch.Generator) -> list[Tensor]:
        """Cut and transform the crops of a batch as :meth:`views` says."""
        return self.views_and_targets(batch, generator)[0]

    def views_and_targets(
        self, batch: Batch, generator: torch.Generator
    ) -> tuple[list[Tensor], Targets]:
        """Return what :meth:`loss` takes of a batch."""
        recipe = self.views()
        drawn = recipe.draw(batch.images.shape, generator)
        views = recipe.apply(batch.images, drawn)
        if self.style is not None:
            views = [self.style(view, generator) for view in views]
        if not self.wants_frames:
            return views, batch.targets
        frames = [f.to(batch.images.device) for f in recipe.frames(batch.images.shape, drawn)]
        return views, {**batch.targets, "frames": frames}

    def compute_losses(self, batch: Batch, generator: torch.Generator) -> Losses:
        """Make the views of a batch and return the losses."""
        return self.loss(*self.views_and_targets(batch, generator), generator)


def lesson(name: str) -> str:
    """Return in a line what a method learns from: the first line of its file."""
    return (sys.modules[METHODS[name].__module__].__doc__ or name).strip().splitlines()[0]


def list_methods() -> list[str]:
    """Return the names of all methods."""
    return list(METHODS)
