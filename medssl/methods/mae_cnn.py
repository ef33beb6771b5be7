"""MAE for dense encoders: hidden cubes are zero, a U-Net with skips rebuilds them.

The strongest simple baseline for segmentation in the OpenMind benchmark. Reference: nnssl's
``BaseMAETrainer`` (Wald et al. 2024, arXiv:2410.23132); masks of 16-cubed cells, 75 % hidden,
squared error over hidden voxels. Ours differs: any encoder takes part; crops lie in the body; no
flip along left and right by default.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from medssl.encoders.base import upsample_mask
from medssl.encoders.decoders import LightDecoder
from medssl.methods.rebuilding import RebuildingMethod
from medssl.parts.masking import RandomCells

__all__ = ["MAECNN"]


class MAECNN(RebuildingMethod):
    """Masked autoencoder for convolutional and windowed encoders.

    Args:
        mask_ratio: Share of the cells that is hidden, in (0, 1).
        mask_size: Edge of a hidden cube in voxels; must tile the patch.
        skips: Whether the decoder gets the fine maps too, as a U-Net does.
        **shared: Encoder, patch and share of body, see :class:`RebuildingMethod`.
    """

    name: ClassVar[str] = "mae_cnn"

    def __init__(
        self,
        *,
        mask_ratio: float = 0.75,
        mask_size: int = 16,
        skips: bool = True,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.mask = RandomCells(ratio=mask_ratio, size=mask_size)
        self.decoder = LightDecoder(
            self.encoder, out_channels=self.encoder.in_channels, skips=skips
        )

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return the options of tests."""
        return {"mask_size": 4}

    def rebuild(self, volume: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Hide a part of a volume and rebuild it, see :class:`RebuildingMethod`."""
        hidden = self.mask(volume.shape, generator)
        rebuilt = self.decoder(self.encoder.forward_masked(volume, hidden), self.patch)
        return rebuilt, volume, upsample_mask(hidden, self.patch)
