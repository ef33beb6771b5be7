"""Models Genesis: repair a crop that was shuffled, recoloured and painted over.

Paper: Zhou et al. 2019, arXiv:1908.06912; reference code: MrGiovanni/ModelsGenesis; in 3D also
nnssl's ``ModelsGenesis`` trainers.
Ours differs: the grey scale is bent over each crop's own range, brought to 0 to 1 and back, so that
z-scored volumes keep their values (nnssl's port clamps what lies outside of 0 to 1); shuffled
windows do not overlap, so that no voxel is lost; nothing is mirrored, because left is not right;
there is no sigmoid at the end, because intensities are signed; any encoder takes part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.encoders.decoders import UNetDecoder
from medssl.methods.base import Targets
from medssl.methods.one_view import OneViewMethod
from medssl.parts.pictures import beside_each_other
from medssl.transforms.draws import host_generator
from medssl.transforms.presets import genesis_corruption
from medssl.types import Batch, Losses, Picture

__all__ = ["ModelsGenesis"]


class ModelsGenesis(OneViewMethod):
    """Restoring a corrupted crop with a U-Net over the encoder.

    The decoder is the one that segmentation uses.

    Args:
        inner_share: Share of the painted crops that are painted in boxes, the rest around them.
        **shared: Encoder, patch and share of body, see :class:`OneViewMethod`.
    """

    name: ClassVar[str] = "models_genesis"

    def __init__(self, *, inner_share: float = 0.2, **shared: Any) -> None:
        super().__init__(**shared)
        self.corruption = genesis_corruption(inner_share=inner_share)
        self.decoder = UNetDecoder(self.encoder, self.encoder.in_channels)

    def loss(
        self,
        views: Sequence[Tensor],
        targets: Targets,  # noqa: ARG002 the volume is its own target
        generator: torch.Generator,
    ) -> Losses:
        """Return the squared error over all voxels."""
        (volume,) = views
        _, restored = self._restore(volume, generator)
        return {"loss": F.mse_loss(restored.float(), volume.float())}

    def _restore(self, volume: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the corrupted volume and what was made of it."""
        corrupted = self.corruption(volume, host_generator(generator))
        restored: Tensor = self.decoder(self.encoder(corrupted), corrupted)[0]
        return corrupted, restored

    def pictures(self, batch: Batch, generator: torch.Generator) -> list[Picture]:
        """Show the crop, what was done to it and what was restored."""
        (volume,) = self.make_views(batch, generator)
        corrupted, restored = self._restore(volume, generator)
        named = (("input", volume), ("corrupted", corrupted), ("restored", restored))
        return beside_each_other(
            "Restoration", named, "Restored from the corrupted crop alone; it should be the input."
        )
