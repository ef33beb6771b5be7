"""Labelled crops beside unlabelled ones, for methods that learn from both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch.utils.data import Dataset

from medssl.sampling.balance import LabelBalanced
from medssl.training.datamodules import CropDataset, decoded
from medssl.training.sources import CropSource
from medssl.types import Batch

__all__ = ["LabelledStore", "WithLabelled"]


class LabelledStore(CropSource, Protocol):
    """What is needed of a store with masks."""

    @property
    def ids(self) -> Sequence[str]:
        """The volumes."""

    @property
    def labels(self) -> Mapping[str, int]:
        """Values of the masks by name."""


class WithLabelled(Dataset[Batch]):
    """Samples of a set, each with one labelled crop of the same number beside it.

    Batches get target ``labelled``, ``(B, 1, C, *patch)``, and ``label``, ``(B, 1, *patch)``: 0 is
    the background and labels count from 1 in the order of the store, whatever their values.

    Args:
        crops: Unlabelled samples by number; decides patch and seed.
        labelled: Where labelled crops come from; every label is visited as often as any other.
    """

    def __init__(self, crops: CropDataset, labelled: LabelledStore) -> None:
        self.crops = crops
        places = LabelBalanced()
        self.labelled = CropDataset(
            labelled, list(labelled.ids), places, crops.patch, seed=crops.seed, labels=True
        )
        values = [0, *labelled.labels.values()]
        self._class_of_value = torch.zeros(max(values) + 1, dtype=torch.int64)
        self._class_of_value[values] = torch.arange(len(values))

    def __getitem__(self, index: int) -> Batch:
        """Read sample number ``index`` of both."""
        batch, beside = self.crops[index], decoded(self.labelled[index])
        classes = self._class_of_value[beside.targets["label"].long()]
        return replace(
            batch, targets={**batch.targets, "labelled": beside.images, "label": classes}
        )
