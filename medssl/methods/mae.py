"""MAE: rebuild the hidden part of a volume from what is visible.

Paper: He et al. 2022, arXiv:2111.06377; in 3D: MONAI's ``MaskedAutoEncoderViT`` and nnssl's
    ``EvaMAE``.
Ours differs: the encoder never sees hidden tokens, and the decoder is narrow and predicts hidden
voxels only (nnssl decodes all tokens at the encoder's width); tokens have one order, tested on
non-cubic input (nnssl's loss mask and positions are transposed); targets are not normalised per
patch by default, because Hounsfield units are absolute.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from medssl.encoders.base import upsample_mask
from medssl.encoders.token_decoder import TokenDecoder
from medssl.errors import ConfigError
from medssl.losses.reconstruction import masked_mse, normalise_cells
from medssl.methods.base import Method, Targets
from medssl.parts.masking import RandomCells
from medssl.parts.pictures import masking_picture
from medssl.sampling.body import Body
from medssl.sampling.places import Sampler
from medssl.transforms.presets import gentle_geometry
from medssl.transforms.views import ViewRecipe
from medssl.types import Batch, Losses, Picture

__all__ = ["MAE"]


class MAE(Method):
    """Masked autoencoder on tokens.

    Args:
        mask_ratio: Share of the tokens that is hidden, in (0, 1).
        mask_size: Edge of a hidden cube in voxels, a multiple of the encoder's token.
        normalise_targets: Whether each cube is rebuilt up to its own mean and spread; may help
            where intensities are relative (MR), and forgets absolute values (CT).
        decoder_width: Channels of the decoder.
        decoder_depth: Transformer blocks of the decoder.
        body_share: Least share of body in a crop.
        **shared: Encoder and patch, see :class:`Method`.

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
        body_share: float = 0.3,
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
        self.body_share = body_share
        self.decoder = TokenDecoder(self.encoder, width=decoder_width, depth=decoder_depth)

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return the options of tests."""
        return {"mask_size": 4, "decoder_width": 32, "decoder_depth": 1}

    def places(self) -> Sampler:
        """Look where there is body."""
        return Body(share=self.body_share)

    def views(self) -> ViewRecipe:
        """One view, turned and scaled a little; left stays left."""
        return ViewRecipe.single(gentle_geometry())

    def loss(
        self,
        views: Sequence[Tensor],
        targets: Targets,  # noqa: ARG002 the volume is its own target
        generator: torch.Generator,
    ) -> Losses:
        """Return the squared error over hidden voxels."""
        return {"loss": masked_mse(*self.rebuild(views[0], generator))}

    def rebuild(self, volume: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Hide a part of a volume and rebuild it.

        Args:
            volume: ``(B, C, *patch)``.
            generator: Source of the mask.

        Returns:
            The answer and what it should be, ``(B, C, *patch)``, and which voxels were hidden,
            ``(B, 1, *patch)``.
        """
        hidden = self.mask(volume.shape, generator)
        rebuilt = self.decoder(self.encoder.forward_masked(volume, hidden), hidden)
        target = normalise_cells(volume, hidden.shape[1:]) if self.normalise_targets else volume
        return rebuilt, target, upsample_mask(hidden, self.patch)

    def pictures(self, batch: Batch, generator: torch.Generator) -> list[Picture]:
        """Show what was to be rebuilt, what was visible of it and the answer."""
        (volume,) = self.make_views(batch, generator)
        rebuilt, target, hidden = self.rebuild(volume, generator)
        return masking_picture(target, hidden, rebuilt)
