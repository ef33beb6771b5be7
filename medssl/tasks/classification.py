"""Classification: which class a volume as a whole belongs to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.cohort.datasets import Case
from medssl.encoders.base import Encoder
from medssl.errors import DatasetError
from medssl.sampling.body import Body
from medssl.sampling.places import Sampler
from medssl.sampling.slices import Slices
from medssl.tasks.base import Task
from medssl.tasks.networks import ClassificationNetwork, TaskNetwork
from medssl.types import Batch, Losses, Modality

__all__ = ["Classification"]


class Classification(Task):
    """An encoder with a linear layer on the mean of its coarsest features.

    Each crop is asked for the class of its volume; a volume is answered by the mean over the
    windows that cover it. Where volumes are no larger than the patch, both are the volume itself.

    Args:
        dropout: Share of the features that is left out while training.
        balance_classes: Whether rare classes weigh more, so that each class counts the same.
        body_share: Least share of body in a crop.
        **shared: what all tasks have, see :class:`~medssl.tasks.base.Task`.
    """

    name: ClassVar[str] = "classification"
    reads_masks: ClassVar[bool] = False

    class_weights: Tensor

    def __init__(
        self,
        *,
        dropout: float = 0.1,
        balance_classes: bool = True,
        body_share: float = 0.3,
        **shared: Any,
    ) -> None:
        self.dropout = dropout
        super().__init__(**shared)
        self.balance_classes = balance_classes
        self.body_share = body_share
        self.class_of_case: dict[str, int] = {}
        self.register_buffer("class_weights", torch.ones(len(self.labels)), persistent=False)

    @classmethod
    def build_network(
        cls, encoder: Encoder, labels: int, options: Mapping[str, Any]
    ) -> TaskNetwork:
        """Return the encoder with a linear layer of one output a class."""
        return ClassificationNetwork(encoder, classes=labels, dropout=float(options["dropout"]))

    def options(self) -> dict[str, Any]:
        """Return the dropout, which has no effect on answers."""
        return {"dropout": self.dropout}

    def places(self) -> Sampler:
        """Look where there is body."""
        sampler = Body(share=self.body_share)
        return Slices(sampler) if len(self.patch) == 2 else sampler

    def learn_from(
        self, cases: Sequence[Case], *, modality: Modality, spacing_mm: tuple[float, ...]
    ) -> None:
        """Take note of the class of each case and of how rare each class is.

        Raises:
            DatasetError: If there is only one class to learn from.
        """
        super().learn_from(cases, modality=modality, spacing_mm=spacing_mm)
        self.class_of_case = {case.id: self.labels[str(case.target)] for case in cases}
        counts = Counter(self.class_of_case.values())
        if len(counts) < 2:
            raise DatasetError(
                f"the {len(cases)} cases to train on are all of one class; expected two at least. "
                "Check the column target, and split if there is one"
            )
        if self.balance_classes:
            # Classes that no training case has keep weight 1: they occur in no loss.
            for number, count in counts.items():
                self.class_weights[number] = len(cases) / (len(counts) * count)

    def compute_losses(self, batch: Batch, generator: torch.Generator) -> Losses:
        """Return the cross-entropy of the crops."""
        crops = batch.images.shape[1]
        images = self.augment(batch.images.flatten(0, 1), generator)
        classes = torch.tensor(
            [self.class_of_case[volume] for volume in batch.volumes], device=images.device
        ).repeat_interleave(crops)
        logits = self.network(images).float()
        each = F.cross_entropy(logits, classes, reduction="none")
        # Not divided by the sum of weights: in a batch of one that would cancel them.
        return {"loss": (each * self.class_weights[classes]).mean()}

    def score(self, answer: Tensor, case: Case, mask: npt.NDArray[Any]) -> dict[str, float]:  # noqa: ARG002
        """Return ``accuracy``, 0 or 1, and ``true_class_probability``."""
        truth = self.labels[str(case.target)]
        return {
            "accuracy": float(int(answer.argmax()) == truth),
            "true_class_probability": float(answer[truth]),
        }
