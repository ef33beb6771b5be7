"""What a fine-tuned model is made of: an encoder and what turns its features into an answer."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from medssl.encoders.base import Encoder
from medssl.encoders.decoders import UNetDecoder
from medssl.tasks.inference import slide, window_mean
from medssl.types import Shape

__all__ = ["ClassificationNetwork", "SegmentationNetwork", "TaskNetwork"]


class TaskNetwork(nn.Module):
    """An encoder with a head; the part of a task that is exported.

    Args:
        encoder: Features.
        head: What the task adds to it, trained from scratch.
    """

    encoder: Encoder
    head: nn.Module

    def __init__(self, encoder: Encoder, head: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def levels(self, x: Tensor) -> list[Tensor]:
        """Return all answers that are compared with the truth, the one that counts first."""
        raise NotImplementedError

    def answer(
        self, image: Tensor, *, patch: Shape, pad_value: float, device: torch.device | None = None
    ) -> Tensor:
        """Answer for one whole image of any size, in probabilities.

        Args:
            image: ``(C, X, Y, Z)`` or ``(C, X, Y)``, prepared as the training images were.
            patch: Edges of the window; two numbers for a network of slices.
            pad_value: What surrounds an image that is smaller than the window.
            device: Where to compute; the answer lies where the image does.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Return the answer that counts."""
        return self.levels(x)[0]

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        """Do what :meth:`forward` does, with a type."""
        return cast(Tensor, super().__call__(*args, **kwargs))


class SegmentationNetwork(TaskNetwork):
    """One logit a class and voxel.

    Args:
        encoder: Features.
        classes: Labels and the background.
        deep_supervision: Whether the coarser levels of the decoder answer too while training.

    Example:
        >>> import torch
        >>> from medssl.encoders import build_encoder
        >>> network = SegmentationNetwork(build_encoder("resenc_s"), classes=3)
        >>> network(torch.zeros(1, 1, 16, 16, 16)).shape
        torch.Size([1, 3, 16, 16, 16])
    """

    def __init__(self, encoder: Encoder, *, classes: int, deep_supervision: bool = True) -> None:
        super().__init__(
            encoder, UNetDecoder(encoder, out_channels=classes, deep_supervision=deep_supervision)
        )

    def levels(self, x: Tensor) -> list[Tensor]:
        """Return ``(B, classes, X, Y, Z)`` logits, finest first."""
        return cast("list[Tensor]", self.head(self.encoder(x), x))

    def answer(
        self, image: Tensor, *, patch: Shape, pad_value: float, device: torch.device | None = None
    ) -> Tensor:
        """Return ``(classes, X, Y, Z)`` by a sliding window, see :class:`TaskNetwork`."""
        return slide(self, image, patch=patch, pad_value=pad_value, device=device)


class ClassificationNetwork(TaskNetwork):
    """One logit a class and image, from the mean of the coarsest features.

    Args:
        encoder: Features.
        classes: How many there are.
        dropout: Share of the features that is left out while training.
    """

    def __init__(self, encoder: Encoder, *, classes: int, dropout: float = 0.1) -> None:
        head = nn.Sequential(nn.Dropout(dropout), nn.Linear(encoder.channels[-1], classes))
        super().__init__(encoder, head)

    def levels(self, x: Tensor) -> list[Tensor]:
        """Return ``(B, classes)`` logits."""
        return [cast(Tensor, self.head(self.encoder.embed(x)))]

    def answer(
        self, image: Tensor, *, patch: Shape, pad_value: float, device: torch.device | None = None
    ) -> Tensor:
        """Return ``(classes,)``, the mean over windows, see :class:`TaskNetwork`."""
        return window_mean(self, image, patch=patch, pad_value=pad_value, device=device)
