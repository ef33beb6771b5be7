"""SimMIM: every token enters, hidden ones as a learned token; one linear map rebuilds the voxels.

Paper: Xie et al. 2022, arXiv:2111.09886; reference code: microsoft/SimMIM, in 3D nnssl's ``SimMIM``
    trainers.
Ours differs: the mask token is a learned pattern of voxels, which a transformer's linear embedding
turns into one learned vector and which a CNN takes as it takes any image, so that any encoder takes
part; the head reads the coarsest map of whatever stride.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from medssl.encoders.base import upsample_mask
from medssl.encoders.linear_decoder import LinearDecoder
from medssl.errors import ConfigError
from medssl.losses.reconstruction import masked_l1, masked_mse
from medssl.methods.rebuilding import RebuildingMethod
from medssl.parts.mask_token import MaskToken
from medssl.parts.masking import RandomCells

__all__ = ["SimMIM"]

ERRORS = {"l1": masked_l1, "mse": masked_mse}


class SimMIM(RebuildingMethod):
    """Masked modelling with a mask token at the input and the lightest head.

    Args:
        mask_ratio: Share of the cells that is hidden, in (0, 1); the paper's 0.6, nnssl takes 0.75.
        mask_size: Edge of a hidden cube in voxels; must tile the patch. The paper found large
            cubes better than single tokens.
        error: What a hidden voxel costs: ``l1`` as in the paper, or ``mse`` as in nnssl.
        **shared: Encoder, patch and share of body, see :class:`RebuildingMethod`.

    Raises:
        ConfigError: If the error is not known.
    """

    name: ClassVar[str] = "simmim"

    def __init__(
        self,
        *,
        mask_ratio: float = 0.6,
        mask_size: int = 16,
        error: Literal["l1", "mse"] = "l1",
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if error not in ERRORS:
            raise ConfigError(f'simmim knows the errors l1 and mse, not "{error}"')
        self.error_name = error
        self.mask = RandomCells(ratio=mask_ratio, size=mask_size)
        self.mask_token = MaskToken(self.encoder)
        self.decoder = LinearDecoder(self.encoder, self.encoder.in_channels)

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return the options of tests."""
        return {"mask_size": 4}

    def rebuild(self, volume: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Hide a part of a volume and rebuild it, see :class:`RebuildingMethod`."""
        hidden = self.mask(volume.shape, generator)
        rebuilt = self.decoder(self.encoder(self.mask_token(volume, hidden)), self.patch)
        return rebuilt, volume, upsample_mask(hidden, self.patch)

    def error(self, rebuilt: Tensor, target: Tensor, hidden: Tensor) -> Tensor:
        """Return the error that was chosen, over hidden voxels."""
        return ERRORS[self.error_name](rebuilt, target, hidden)
