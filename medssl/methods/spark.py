"""SparK: rebuild hidden cells with a CNN that spends no work on them and can't see their borders.

Papers: Tian et al. 2023, arXiv:2301.03580; in 3D: Wald et al. 2024, arXiv:2410.23132 (nnssl's
    ``SparkMAETrainer``); masks of 16-cubed cells, squared error over hidden voxels.
Ours differs: the image is cut before the first convolution, where nnssl's sees the hidden voxels at
the borders of cells; visible cells alone are computed, with the same numbers as masking after every
convolution; crops lie in the body; no flip along left and right by default.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from medssl.encoders.base import upsample_mask
from medssl.encoders.decoders import LightDecoder
from medssl.encoders.densify import Densify, sparse_levels
from medssl.encoders.sparse import visible_maps
from medssl.errors import ConfigError
from medssl.losses.reconstruction import normalise_cells
from medssl.methods.rebuilding import RebuildingMethod
from medssl.parts.masking import RandomCells

__all__ = ["SparK"]


class SparK(RebuildingMethod):
    """Masked autoencoder by masked convolution.

    Args:
        mask_ratio: Share of the cells that is hidden, in (0, 1).
        mask_size: Edge of a hidden cube in voxels; must tile the patch and be a multiple of the
            encoder's strides, or they of it.
        densify: What becomes of hidden places before the decoder: ``efficient`` fills them with a
            token learned for each level, ``full`` also normalises before and convolves after.
        normalise_targets: Whether each cube is rebuilt up to its own mean and spread, as in the
            paper for photographs; it forgets absolute values (CT).
        **shared: Encoder, patch and share of body, see :class:`RebuildingMethod`.

    Raises:
        ConfigError: If the encoder is no CNN, or cells do not fit its strides.
    """

    name: ClassVar[str] = "spark"

    def __init__(
        self,
        *,
        mask_ratio: float = 0.75,
        mask_size: int = 16,
        densify: Literal["efficient", "full"] = "efficient",
        normalise_targets: bool = False,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if self.encoder.drops_tokens:
            raise ConfigError(
                f'spark masks convolutions, and encoder "{self.encoder.name}" drops hidden tokens '
                'by itself; choose method "mae" for it, or a resenc_* or resnet* encoder'
            )
        self.mask = RandomCells(ratio=mask_ratio, size=mask_size)
        self.normalise_targets = normalise_targets
        sparse = sparse_levels(self.encoder, self.mask.grid(self.patch), self.patch)
        self.densify = Densify(self.encoder, sparse, full=densify == "full")
        self.decoder = LightDecoder(self.encoder, out_channels=self.encoder.in_channels)

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return the options of tests."""
        return {"mask_size": 4}

    def rebuild(self, volume: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Hide a part of a volume and rebuild it, see :class:`RebuildingMethod`."""
        hidden = self.mask(volume.shape, generator)
        maps = self.densify(visible_maps(self.encoder, volume, hidden))
        rebuilt = self.decoder(maps, self.patch)
        target = normalise_cells(volume, hidden.shape[1:]) if self.normalise_targets else volume
        return rebuilt, target, upsample_mask(hidden, self.patch)
