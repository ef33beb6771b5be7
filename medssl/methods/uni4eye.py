"""Uni4Eye: slices and volumes in one encoder, rebuilt as images and as maps of their edges.

Batches alternate: in some the crops stay volumes, in others one slice of each is all there is. A
slice enters a 3D encoder as a slab, repeated over the thickness of one token, so that both kinds of
image end up in one space of tokens with one set of weights.
Paper: Cai et al. 2022 (MICCAI), arXiv:2203.04614.
Ours differs: the paper has an embedding for planar patches beside that for cubes, chosen by the
rank of the input. A repeated slice sees the cube's own weights, summed over depth, which is a
planar embedding without weights of its own: what is learned from volumes holds for slices, the
exported encoder is an ordinary one that reads a slab, and a CNN can take part too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from medssl.encoders.base import upsample_mask
from medssl.encoders.masked_decoder import MaskedDecoder
from medssl.errors import ConfigError
from medssl.losses.reconstruction import gradient_map, masked_mse
from medssl.methods.base import Targets
from medssl.methods.one_view import OneViewMethod
from medssl.parts.masking import RandomCells
from medssl.parts.pictures import beside_each_other
from medssl.types import Batch, Losses, Picture

__all__ = ["Uni4Eye"]


class Uni4Eye(OneViewMethod):
    """Masked modelling of volumes and slices, with two decoders.

    Args:
        planar_share: Share of the batches in which each crop is one of its axial slices.
        mask_ratio: Share of the cells that is hidden, in (0, 1).
        mask_size: Edge of a hidden cube, or square, in voxels; must tile the patch, and be a
            multiple of the token of an encoder that drops tokens.
        gradient_weight: Of the edges' error.
        decoder_width: Channels of each decoder, where the encoder drops tokens.
        decoder_depth: Its blocks.
        **shared: Encoder, patch and share of body, see :class:`OneViewMethod`.

    Raises:
        ConfigError: If the encoder is planar.
    """

    name: ClassVar[str] = "uni4eye"

    def __init__(
        self,
        *,
        planar_share: float = 0.5,
        mask_ratio: float = 0.5,
        mask_size: int = 16,
        gradient_weight: float = 1.0,
        decoder_width: int = 192,
        decoder_depth: int = 2,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if self.encoder.spatial_dims != 3:
            raise ConfigError(
                "uni4eye teaches one 3D encoder slices and volumes, and was given a planar one; "
                'set encoder.spatial_dims to 3, or take method "mae" or "mae_cnn" for images'
            )
        if not 0.0 <= planar_share <= 1.0:
            raise ConfigError(f"planar_share was {planar_share}; a share lies between 0 and 1")
        self.planar_share = planar_share
        self.gradient_weight = gradient_weight
        self.thickness = self.encoder.strides[-1][-1]
        self.cubes = RandomCells(ratio=mask_ratio, size=mask_size)
        self.squares = RandomCells(ratio=mask_ratio, size=(mask_size, mask_size, self.thickness))
        self.image_decoder, self.gradient_decoder = (
            MaskedDecoder(self.encoder, width=decoder_width, depth=decoder_depth) for _ in range(2)
        )

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return the options of tests."""
        return {"mask_size": 4, "decoder_width": 32, "decoder_depth": 1}

    def loss(
        self,
        views: Sequence[Tensor],
        targets: Targets,  # noqa: ARG002 the volume is its own target
        generator: torch.Generator,
    ) -> Losses:
        """Return the error over hidden voxels, of intensities and of edges."""
        (volume,) = views
        chance = torch.rand((), generator=generator, device=generator.device)
        shown = self.slab(volume, generator) if bool(chance < self.planar_share) else volume
        hidden, image, edges = self._rebuild(shown, generator)
        terms = {
            "image": masked_mse(image, shown, hidden),
            "gradient": masked_mse(edges, gradient_map(shown), hidden),
        }
        return {"loss": terms["image"] + self.gradient_weight * terms["gradient"], **terms}

    def slab(self, volume: Tensor, generator: torch.Generator) -> Tensor:
        """Return one axial slice of each volume as the encoder sees a slice.

        Args:
            volume: ``(B, C, X, Y, Z)``.
            generator: Says which slice.

        Returns:
            ``(B, C, X, Y, t)``, the slice repeated over the thickness of the coarsest token.
        """
        batch, *_, slices = volume.shape
        number = torch.randint(slices, (batch,), generator=generator, device=generator.device)
        index = number.to(volume.device).view(-1, 1, 1, 1, 1)
        chosen = volume.gather(4, index.expand(*volume.shape[:4], 1))
        return chosen.expand(*volume.shape[:4], self.thickness).contiguous()

    def _rebuild(self, shown: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return the hidden voxels, the image and the edges as they were rebuilt."""
        shape = tuple(shown.shape[2:])
        mask = self.cubes if shape == self.patch else self.squares
        hidden = mask(shown.shape, generator)
        maps = self.encoder.forward_masked(shown, hidden)
        image = self.image_decoder(maps, hidden, shape)
        edges = self.gradient_decoder(maps, hidden, shape)
        return upsample_mask(hidden, shape), image, edges

    def pictures(self, batch: Batch, generator: torch.Generator) -> list[Picture]:
        """Show a volume and a slice, what was visible of them and what was rebuilt."""
        (volume,) = self.make_views(batch, generator)
        found = []
        for kind, shown in (("volume", volume), ("slice", self.slab(volume, generator))):
            hidden, image, edges = self._rebuild(shown, generator)
            steep = gradient_map(shown)
            named = (
                (kind, shown),
                ("visible", shown.masked_fill(hidden, float("nan"))),
                ("rebuilt", shown.where(~hidden, image.to(shown.dtype))),
                ("edges", steep),
                ("edges rebuilt", steep.where(~hidden, edges.to(steep.dtype))),
            )
            caption = "Hidden cells of a volume and of a slice, rebuilt by the same weights."
            found += beside_each_other(f"Hidden cells of a {kind}", named, caption, count=2)
        return found
