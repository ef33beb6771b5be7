"""What a few masks teach, beside what is learnt from everything else."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from medssl.encoders.base import Encoder
from medssl.encoders.decoders import UNetDecoder
from medssl.errors import ConfigError
from medssl.losses.segmentation import deep_supervision, dice_ce
from medssl.transforms.presets import segmentation_augmentation

__all__ = ["Supervision"]


class Supervision(nn.Module):
    """A U-Net decoder on an encoder that somebody else owns, and Dice with cross-entropy.

    Args:
        encoder: Features; it is trained, and not a part of this module.
        classes: Labels to tell apart, the background not counted.

    Raises:
        ConfigError: If there is no label.
    """

    def __init__(self, encoder: Encoder, *, classes: int) -> None:
        super().__init__()
        if classes < 1:
            raise ConfigError(f"there are {classes} labels to learn from; expected at least 1")
        self.classes = classes
        self.decoder = UNetDecoder(encoder, out_channels=classes + 1, deep_supervision=True)
        self.augment = segmentation_augmentation()

    def forward(
        self, encoder: Encoder, images: Tensor, masks: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return the loss of labelled crops, turned and recoloured as for fine-tuning.

        Args:
            encoder: The one that this was built for.
            images: ``(B, K, C, *patch)``.
            masks: ``(B, K, *patch)`` classes from 0, which is the background, to ``classes``.
            generator: Source of the augmentation.
        """
        crops, truth = self.augment(images.flatten(0, 1), generator, masks.flatten(0, 1)[:, None])
        # Dice of the batch as one image, as in fine-tuning: many a crop lacks many a label.
        found: Tensor = deep_supervision(
            self.decoder(encoder(crops), crops),
            truth.long(),
            loss=partial(dice_ce, per_sample=False),
        )
        return found
