"""MAE: rebuild the hidden part of a volume from what is visible.

Paper: He et al. 2022, arXiv:2111.06377; in 3D: MONAI's ``MaskedAutoEncoderViT`` and nnssl's
    ``EvaMAE``.
Ours differs: the encoder never sees hidden tokens, and the decoder is narrow and predicts hidden
voxels only (nnssl decodes all tokens at the encoder's width); tokens have one order, tested on
non-cubic input (nnssl's loss mask and positions are transposed); targets are not normalised per
patch by default, because Hounsfield units are absolute.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from medssl.encoders.base import upsample_mask
from medssl.encoders.token_decoder import TokenDecoder
from medssl.errors import ConfigError
from medssl.losses.reconstruction import normalise_cells
from medssl.methods.rebuilding import RebuildingMethod
from medssl.parts.masking import RandomCells

__all__ = ["MAE"]


class MAE(RebuildingMethod):
    """Masked autoencoder on tokens.

    Args:
        mask_ratio: Share of the tokens that is hidden, in (0, 1).
        mask_size: Edge of a hidden cube in voxels, a multiple of the encoder's token.
        normalise_targets: Whether each cube is rebuilt up to its own mean and spread; may help
            where intensities are relative (MR), and forgets absolute values (CT).
        decoder_width: Channels of the decoder.
        decoder_depth: Transformer blocks of the decoder.
        **shared: Encoder, patch and share of body, see :class:`RebuildingMethod`.

    Raises:
        ConfigError: If the encoder has no tokens to drop.
    """

    name: ClassVar[str] = "mae"

    def __init__(
        self,
        *,
        mask_ratio: float = 0.75,
        mask_size: int = 16,
        normalise_targets: bool = False,
        decoder_width: int = 192,
        decoder_depth: int = 4,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if not self.encoder.drops_tokens:
            raise ConfigError(
                f'mae spends no work on hidden tokens, and encoder "{self.encoder.name}" has no '
                'tokens to drop; choose a vit_* encoder, or method "mae_cnn" for this one'
            )
        self.mask = RandomCells(ratio=mask_ratio, size=mask_size)
        self.normalise_targets = normalise_targets
        self.decoder = TokenDecoder(self.encoder, width=decoder_width, depth=decoder_depth)

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return the options of tests."""
        return {"mask_size": 4, "decoder_width": 32, "decoder_depth": 1}

    def rebuild(self, volume: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Hide a part of a volume and rebuild it, see :class:`RebuildingMethod`."""
        hidden = self.mask(volume.shape, generator)
        rebuilt = self.decoder(self.encoder.forward_masked(volume, hidden), hidden)
        target = normalise_cells(volume, hidden.shape[1:]) if self.normalise_targets else volume
        return rebuilt, target, upsample_mask(hidden, self.patch)
