"""Segmentation: which label each voxel has."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medssl.cohort.datasets import Case
from medssl.encoders.base import Encoder
from medssl.errors import ConfigError
from medssl.losses.segmentation import deep_supervision, dice_ce
from medssl.sampling.balance import LabelBalanced
from medssl.sampling.places import Sampler
from medssl.sampling.slices import Slices
from medssl.tasks.base import Task
from medssl.tasks.networks import SegmentationNetwork, TaskNetwork
from medssl.types import Batch, Losses

__all__ = ["Segmentation"]


class Segmentation(Task):
    """An encoder with a U-Net decoder, trained on Dice and cross-entropy.

    Args:
        deep_supervision: Whether coarser levels of the decoder are compared with the mask too.
        foreground: Share of the crops that hold a label, each label as often as any other.
        **shared: what all tasks have, see :class:`~medssl.tasks.base.Task`.
    """

    name: ClassVar[str] = "segmentation"
    reads_masks: ClassVar[bool] = True

    class_of_value: Tensor

    def __init__(
        self,
        *,
        deep_supervision: bool = True,
        foreground: float = 0.5,
        **shared: Any,
    ) -> None:
        if not 0 <= foreground <= 1:
            raise ConfigError(f"task.foreground is {foreground}; expected a share in [0, 1]")
        self.deep_supervision = deep_supervision
        super().__init__(**shared)
        self.foreground = foreground
        # Values of a mask may have gaps; the classes of the network have none.
        values = [0, *self.labels.values()]
        lookup = torch.zeros(max(values) + 1, dtype=torch.int64)
        lookup[values] = torch.arange(len(values))
        self.register_buffer("class_of_value", lookup, persistent=False)

    @classmethod
    def build_network(
        cls, encoder: Encoder, labels: int, options: Mapping[str, Any]
    ) -> TaskNetwork:
        """Return the encoder with a decoder of one class a label and one for the background."""
        return SegmentationNetwork(
            encoder, classes=labels + 1, deep_supervision=bool(options["deep_supervision"])
        )

    def options(self) -> dict[str, Any]:
        """Return whether the decoder has heads at coarser levels."""
        return {"deep_supervision": self.deep_supervision}

    def places(self) -> Sampler:
        """Look at labels and at everything else."""
        sampler = LabelBalanced(foreground=self.foreground)
        return Slices(sampler) if len(self.patch) == 2 else sampler

    def compute_losses(self, batch: Batch, generator: torch.Generator) -> Losses:
        """Compare the prediction for augmented crops with their masks.

        Dice is taken over the batch as one image: many a crop lacks many a label, and the Dice of
        an absent label is all or nothing.
        """
        images = batch.images.flatten(0, 1)
        masks = batch.targets["label"].flatten(0, 1).unsqueeze(1)
        images, masks = self.augment(images, generator, masks)
        classes = self.class_of_value[masks.long()]
        loss = deep_supervision(
            self.network.levels(images), classes, loss=partial(dice_ce, per_sample=False)
        )
        return {"loss": loss}

    def score(
        self,
        answer: Tensor,
        case: Case,  # noqa: ARG002 the mask says it all
        mask: npt.NDArray[Any],
    ) -> dict[str, float]:
        """Return ``dice``, and that of each label; NaN where neither side finds anything."""
        predicted = answer.argmax(dim=0).numpy()
        truth = self.class_of_value.cpu().numpy()[mask]
        scores = {
            f"dice_{name}": _dice(predicted == number, truth == number)
            for number, name in enumerate(self.labels, start=1)
        }
        known = [score for score in scores.values() if not math.isnan(score)]
        return {"dice": float(np.mean(known)) if known else math.nan, **scores}


def _dice(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float:
    total = int(first.sum()) + int(second.sum())
    return 2.0 * int((first & second).sum()) / total if total else math.nan
