"""MixedAE: unmix an image that was put together from cells of several patients.

Each cell of the mix shows one of the sources; each source is rebuilt from its own cells, and the
features say which cells belong together.
Paper: Chen et al. 2023, arXiv:2303.17152 (its code was not released in full).
Ours differs: sources are other patients of the same modality, so that neither grey scale nor a
shared part of one volume gives them away; whether two tokens are of one source is asked of the
features alone, without the paper's attention that picks the likeliest, which would need a
transformer; any encoder takes part whose coarsest voxel lies in one cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from medssl.encoders.base import upsample_mask
from medssl.encoders.masked_decoder import MaskedDecoder
from medssl.encoders.tokens import map_to_tokens
from medssl.errors import ConfigError
from medssl.losses.homology import homologous_contrast
from medssl.losses.reconstruction import masked_mse
from medssl.methods.base import Method, Targets
from medssl.parts.group_masks import share_cells
from medssl.parts.heads import mlp
from medssl.parts.masking import RandomCells
from medssl.parts.pictures import beside_each_other
from medssl.sampling.partners import JointSampler
from medssl.sampling.strangers import Strangers
from medssl.transforms.presets import gentle_geometry
from medssl.transforms.views import ViewRecipe
from medssl.types import Batch, Losses, Picture

__all__ = ["MixedAE"]

MOST_TOKENS = 1024
"""So many tokens of a mix are compared with each other at most; all pairs of more fill memory."""


class MixedAE(Method):
    """Rebuilding each source of a mixed image, and recognising what is of one source.

    Args:
        sources: Patients in one mix; each shows one cell in so many. The paper's best are 2 to 4.
        mask_size: Edge of a cell in voxels; must tile the patch, and be a multiple of the encoder's
            coarsest stride.
        homology_weight: Of the recognition.
        temperature: Of the recognition.
        decoder_width: Channels of the decoder, where the encoder drops tokens.
        decoder_depth: Its blocks.
        width: Features in which tokens are compared.
        body_share: Least share of body in a crop.
        **shared: Encoder and patch, see :class:`Method`.

    Raises:
        ConfigError: If a voxel of the coarsest map would see several sources, or the cells can't
            be shared equally.
    """

    name: ClassVar[str] = "mixed_ae"

    def __init__(
        self,
        *,
        sources: int = 2,
        mask_size: int = 16,
        homology_weight: float = 0.1,
        temperature: float = 0.25,
        decoder_width: int = 192,
        decoder_depth: int = 4,
        width: int = 128,
        body_share: float = 0.3,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        coarsest = self.encoder.strides[-1]
        if any(mask_size % stride for stride in coarsest):
            raise ConfigError(
                f"mixed_ae was given cells of {mask_size} voxels and an encoder whose coarsest map "
                f"has strides {coarsest}, so that one feature would see several sources; make the "
                "cell (method.mask_size) a multiple of the strides, or take an encoder with fewer"
            )
        self.sources = sources
        self.grid = RandomCells(size=mask_size).grid(self.patch)
        share_cells(1, self.grid, sources, torch.Generator())  # says now what can't be shared
        self.homology_weight = homology_weight
        self.temperature = temperature
        self.body_share = body_share
        self.decoder = MaskedDecoder(self.encoder, width=decoder_width, depth=decoder_depth)
        self.head = mlp(self.encoder.channels[-1], 2 * width, width, norm="layer")

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return the options of tests."""
        return {"mask_size": 4, "decoder_width": 32, "decoder_depth": 1, "width": 16}

    def places(self) -> JointSampler:
        """Look at several patients."""
        return Strangers(volumes=self.sources, share=self.body_share)

    def views(self) -> ViewRecipe:
        """All sources in one view, each turned and scaled a little."""
        return ViewRecipe.single(gentle_geometry())

    def loss(
        self,
        views: Sequence[Tensor],
        targets: Targets,  # noqa: ARG002 the sources are the target
        generator: torch.Generator,
    ) -> Losses:
        """Return the error over what each source did not show, and that of recognition."""
        (volume,) = views
        owner = share_cells(len(volume) // self.sources, self.grid, self.sources, generator)
        maps = self.encoder(self.mix(volume, owner))
        hidden, rebuilt = self._unmix(maps, owner)
        terms = {
            "rebuilt": masked_mse(rebuilt, volume, upsample_mask(hidden, self.patch)),
            "homology": self._recognition(maps[-1], owner, generator),
        }
        return {"loss": terms["rebuilt"] + self.homology_weight * terms["homology"], **terms}

    def mix(self, volume: Tensor, owner: Tensor) -> Tensor:
        """Put images together from the cells of their sources.

        Args:
            volume: ``(B * sources, C, *patch)``, the sources of one image together.
            owner: ``(B, *grid)``, whose cell it is.

        Returns:
            ``(B, C, *patch)``.
        """
        sources = volume.reshape(-1, self.sources, *volume.shape[1:])
        choice = upsample_mask(owner, self.patch).unsqueeze(1)
        mixed: Tensor = sources.gather(1, choice.expand(-1, 1, *sources.shape[2:])).squeeze(1)
        return mixed

    def _unmix(self, maps: Sequence[Tensor], owner: Tensor) -> tuple[Tensor, Tensor]:
        """Return for each source what it did not show, and the whole as it was rebuilt."""
        number = torch.arange(self.sources, device=owner.device)
        hidden = owner.unsqueeze(1) != number.view(1, -1, *[1] * len(self.grid))
        hidden = hidden.flatten(0, 1)
        own = []
        for features in maps:
            unseen = upsample_mask(hidden, tuple(features.shape[2:]))
            own.append(features.repeat_interleave(self.sources, dim=0).masked_fill(unseen, 0.0))
        return hidden, self.decoder(own, hidden, self.patch)

    def _recognition(self, coarsest: Tensor, owner: Tensor, generator: torch.Generator) -> Tensor:
        """Return the contrast of tokens of one source with those of others."""
        owners = upsample_mask(owner, tuple(coarsest.shape[2:])).flatten(1)
        tokens = map_to_tokens(coarsest)
        if tokens.shape[1] > MOST_TOKENS:
            order = torch.randperm(tokens.shape[1], generator=generator, device=generator.device)
            tokens, owners = tokens[:, order[:MOST_TOKENS]], owners[:, order[:MOST_TOKENS]]
        compared = self.head(tokens.flatten(0, 1)).view(*tokens.shape[:2], -1)
        return homologous_contrast(compared, owners, temperature=self.temperature)

    def pictures(self, batch: Batch, generator: torch.Generator) -> list[Picture]:
        """Show a source, the mix and what was rebuilt of the source."""
        (volume,) = self.make_views(batch, generator)
        owner = share_cells(len(volume) // self.sources, self.grid, self.sources, generator)
        mixed = self.mix(volume, owner)
        _, rebuilt = self._unmix(self.encoder(mixed), owner)
        repeated = mixed.repeat_interleave(self.sources, dim=0)
        named = (("source", volume), ("mix", repeated), ("rebuilt", rebuilt))
        return beside_each_other(
            "Unmixing", named, "Rebuilt from those cells of the mix that show this source."
        )
