"""MAE for dense encoders: hidden cubes are zero, a U-Net with skips rebuilds them.

The strongest simple baseline for segmentation in the OpenMind benchmark. Reference: nnssl's
``BaseMAETrainer`` (Wald et al. 2024, arXiv:2410.23132); masks of 16-cubed cells, 75 % hidden,
squared error over hidden voxels. Ours differs: any encoder takes part; crops lie in the body; no
flip along left and right by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from medssl.encoders.base import upsample_mask
from medssl.encoders.decoders import LightDecoder
from medssl.losses.reconstruction import masked_mse
from medssl.methods.base import Method, Targets
from medssl.parts.masking import RandomCells
from medssl.parts.pictures import masking_picture
from medssl.sampling.body import Body
from medssl.sampling.places import Sampler
from medssl.transforms.presets import gentle_geometry
from medssl.transforms.views import ViewRecipe
from medssl.types import Batch, Losses, Picture

__all__ = ["MAECNN"]


class MAECNN(Method):
    """Masked autoencoder for convolutional and windowed encoders.

    Args:
        mask_ratio: Share of the cells that is hidden, in (0, 1).
        mask_size: Edge of a hidden cube in voxels; must tile the patch.
        skips: Whether the decoder gets the fine maps too, as a U-Net does.
        body_share: Least share of body in a crop.
        **shared: Encoder and patch, see :class:`Method`.
    """

    name: ClassVar[str] = "mae_cnn"

    def __init__(
        self,
        *,
        mask_ratio: float = 0.75,
        mask_size: int = 16,
        skips: bool = True,
        body_share: float = 0.3,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.mask = RandomCells(ratio=mask_ratio, size=mask_size)
        self.body_share = body_share
        self.decoder = LightDecoder(
            self.encoder, out_channels=self.encoder.in_channels, skips=skips
        )

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return the options of tests."""
        return {"mask_size": 4}

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
        rebuilt = self.decoder(self.encoder.forward_masked(volume, hidden), self.patch)
        return rebuilt, volume, upsample_mask(hidden, self.patch)

    def pictures(self, batch: Batch, generator: torch.Generator) -> list[Picture]:
        """Show the input, what was visible of it and what was rebuilt."""
        (volume,) = self.make_views(batch, generator)
        rebuilt, volume, hidden = self.rebuild(volume, generator)
        return masking_picture(volume, hidden, rebuilt)
