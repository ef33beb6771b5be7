"""SiT: restore groups of connected cells that hold noise, nothing or another volume, and contrast.

Hiding whole groups asks for anatomy, where a single hidden cell can be guessed from its border.
Paper: Atito et al. 2021, arXiv:2104.03602 (group masked model learning); reference code:
Sara-Ahmed/SiT.
Ours differs: every image hides exactly the same share, in blocks of the grid; both views are those
of the student, as in the first version (later code keeps a momentum teacher), without its third
task, telling quarter turns, for which there is ``swin_unetr``; crops of one place that overlap are
no negatives, and negatives come from all ranks; any encoder takes part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from medssl.encoders.base import upsample_mask
from medssl.encoders.decoders import LightDecoder
from medssl.losses.contrast import nt_xent
from medssl.losses.reconstruction import masked_l1
from medssl.methods.base import Method, Targets
from medssl.parts.blocks import BlockCells
from medssl.parts.gather import gather
from medssl.parts.heads import mlp
from medssl.parts.pictures import beside_each_other
from medssl.parts.two_views import Modality, TwoViews, overlapping_rows
from medssl.sampling.places import Sampler
from medssl.transforms.draws import host_generator, partners
from medssl.transforms.views import ViewRecipe
from medssl.types import Batch, Losses, Picture

__all__ = ["SiT"]

BLOCK_SHARE = (0.05, 0.15)
"""Of the crop that one group fills; in 3D edges of a third to a half of the crop's."""


class SiT(Method):
    """Group masked model learning beside contrast of two views.

    Args:
        mask_ratio: Share of the cells that hold something else, in (0, 1).
        mask_size: Edge of a cell in voxels; must tile the patch.
        contrast_weight: Of the contrast; 0 leaves it away.
        temperature: Of the contrast.
        crops: Crops of a place.
        strength: Of the changes of intensity that tell two views apart.
        modality: Whose intensities they are, see
            :func:`~medssl.transforms.presets.strong_intensity`.
        width: Features in which crops are compared.
        **shared: Encoder and patch, see :class:`Method`.
    """

    name: ClassVar[str] = "sit"
    couples_samples: ClassVar[bool] = True

    def __init__(
        self,
        *,
        mask_ratio: float = 0.5,
        mask_size: int = 8,
        contrast_weight: float = 1.0,
        temperature: float = 0.2,
        crops: int = 2,
        strength: float = 0.5,
        modality: Modality = "other",
        width: int = 256,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.mask = BlockCells(ratio=mask_ratio, size=mask_size, share=BLOCK_SHARE)
        self.two_views = TwoViews(crops=crops, strength=strength, modality=modality)
        self.contrast_weight = contrast_weight
        self.temperature = temperature
        self.decoder = LightDecoder(self.encoder, self.encoder.in_channels)
        self.head = None
        if contrast_weight:
            self.head = mlp(self.encoder.channels[-1], 2 * width, width, norm="layer")

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return the options of tests."""
        return {"mask_size": 4, "width": 16}

    def places(self) -> Sampler:
        """Look where there is body, at several crops that may overlap."""
        return self.two_views.places()

    def views(self) -> ViewRecipe:
        """Two looks at each crop."""
        return self.two_views.recipe()

    def loss(self, views: Sequence[Tensor], targets: Targets, generator: torch.Generator) -> Losses:
        """Return the error over what was replaced, and the contrast of the views."""
        clean = torch.cat(list(views))
        hidden, _, maps = self._answer(clean, generator)
        terms = {"rebuilt": masked_l1(self.decoder(maps, self.patch), clean, hidden)}
        if self.head is None:
            return {"loss": terms["rebuilt"], **terms}
        first, second = self.head(maps[-1].flatten(2).mean(dim=2)).chunk(2)
        self.last_embedding = first.detach()
        same = overlapping_rows(targets, len(first))
        terms["contrast"] = nt_xent(
            gather(first), gather(second), temperature=self.temperature, same=same
        )
        return {"loss": terms["rebuilt"] + self.contrast_weight * terms["contrast"], **terms}

    def _answer(
        self, clean: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return which voxels were replaced, the images after that, and their maps."""
        hidden = upsample_mask(self.mask(clean.shape, generator), self.patch).to(clean.device)
        shown = clean.where(~hidden, self.filling(clean, generator))
        return hidden, shown, self.encoder(shown)

    def filling(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Draw what stands in hidden groups: for a third of the images each noise, zeros, others.

        Noise has the image's own mean and spread; an image that is alone in its batch gets noise
        where it would get another.

        Args:
            clean: ``(B, C, *patch)``.
            generator: Source of kinds, partners and noise, on the device of the images.
        """
        batch = len(clean)
        one_each = [batch, *[1] * (clean.ndim - 1)]
        kind = torch.randint(3, (batch,), generator=generator, device=generator.device)
        within = tuple(range(2, clean.ndim))
        spread, mean = torch.std_mean(clean, dim=within, keepdim=True)
        noise = torch.randn(
            clean.shape, generator=generator, device=generator.device, dtype=clean.dtype
        )
        filled = mean + spread * noise
        filled = filled.where((kind != 0).view(one_each), 0.0)
        if batch == 1:
            return filled
        other = clean[partners(batch, host_generator(generator)).to(clean.device)]
        return filled.where((kind != 1).view(one_each), other)

    def pictures(self, batch: Batch, generator: torch.Generator) -> list[Picture]:
        """Show a view, what was put into it and what was restored."""
        clean = torch.cat(self.make_views(batch, generator))
        hidden, shown, maps = self._answer(clean, generator)
        rebuilt = self.decoder(maps, self.patch).to(clean.dtype)
        named = (
            ("input", clean),
            ("with foreign groups", shown),
            ("restored", clean.where(~hidden, rebuilt)),
        )
        return beside_each_other(
            "Restored groups", named, "Groups of cells held noise, nothing or another volume."
        )
