"""DMJD: several masks of one crop that are as disjoint as can be, so that all of it is rebuilt.

Plain masking learns from the hidden share of a crop alone. Here each view hides another part, and
what is visible must also say what a teacher, who sees everything, sees there.
Paper: Ma et al. 2023, "Disjoint Masking with Joint Distillation", arXiv:2301.00230; reference code:
mx-mark/DMJD.
Ours differs: masks are disjoint by construction for any number of views, each image with an order
of its own (the reference draws one order for the batch); the visible branch follows a slow copy of
the encoder (the reference takes features of a network trained elsewhere); hidden voxels are rebuilt
as intensities; any encoder takes part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.encoders.base import upsample_mask
from medssl.encoders.masked_decoder import MaskedDecoder
from medssl.encoders.tokens import map_to_tokens
from medssl.losses.reconstruction import masked_mse
from medssl.methods.base import Targets
from medssl.methods.one_view import OneViewMethod
from medssl.parts.group_masks import DisjointCells
from medssl.parts.heads import mlp
from medssl.parts.pictures import masking_picture
from medssl.parts.teacher import Teacher
from medssl.training.schedules import cosine_between
from medssl.types import Batch, Losses, Picture

__all__ = ["DMJD"]


class DMJD(OneViewMethod):
    """Masked modelling over disjoint masks, with distillation where the crop is visible.

    The exported encoder is the student's: it is the one that rebuilds.

    Args:
        masks: Masks of each crop; the work grows with them.
        mask_ratio: Share of the cells that each hides; together they must hide all.
        mask_size: Edge of a hidden cube in voxels; must tile the patch, and be a multiple of the
            token of an encoder that drops tokens.
        distillation_weight: Of the visible branch; 0 leaves teacher and branch away.
        momentum: Of the teacher at the start; it rises to 1.
        decoder_width: Channels of the decoder, where the encoder drops tokens.
        decoder_depth: Its blocks.
        head_width: Hidden features of the visible branch.
        **shared: Encoder, patch and share of body, see :class:`OneViewMethod`.
    """

    name: ClassVar[str] = "dmjd"

    def __init__(
        self,
        *,
        masks: int = 2,
        mask_ratio: float = 0.6,
        mask_size: int = 16,
        distillation_weight: float = 1.0,
        momentum: float = 0.99,
        decoder_width: int = 192,
        decoder_depth: int = 4,
        head_width: int = 512,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.masks = masks
        self.mask = DisjointCells(views=masks, ratio=mask_ratio, size=mask_size)
        self.momentum = momentum
        self.distillation_weight = distillation_weight
        self.decoder = MaskedDecoder(self.encoder, width=decoder_width, depth=decoder_depth)
        self.teacher_encoder = self.head = None
        if distillation_weight:
            width = self.encoder.channels[-1]
            self.teacher_encoder = Teacher(self.encoder)
            self.head = mlp(width, head_width, width, norm="layer")

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return the options of tests."""
        return {"mask_size": 4, "decoder_width": 32, "decoder_depth": 1, "head_width": 32}

    def loss(
        self,
        views: Sequence[Tensor],
        targets: Targets,  # noqa: ARG002 the volume is its own target
        generator: torch.Generator,
    ) -> Losses:
        """Return the error over hidden voxels of all masks, and that of visible features."""
        (volume,) = views
        hidden, maps, rebuilt = self._answer(volume, generator)
        repeated = volume.repeat(self.masks, *[1] * (volume.ndim - 1))
        voxels = upsample_mask(hidden, self.patch)
        terms = {"rebuilt": masked_mse(rebuilt, repeated, voxels)}
        if self.teacher_encoder is None:
            return {"loss": terms["rebuilt"], **terms}
        terms["distilled"] = self._distilled(volume, maps[-1], voxels)
        return {"loss": terms["rebuilt"] + self.distillation_weight * terms["distilled"], **terms}

    def _answer(
        self, volume: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, list[Tensor], Tensor]:
        """Return masks, maps and answers: those of the first mask of all images come first."""
        hidden = self.mask(volume.shape, generator)
        repeated = volume.repeat(self.masks, *[1] * (volume.ndim - 1))
        maps = self.encoder.forward_masked(repeated, hidden)
        return hidden, maps, self.decoder(maps, hidden, self.patch)

    def _distilled(self, volume: Tensor, coarsest: Tensor, hidden_voxels: Tensor) -> Tensor:
        """Return how far visible features are from the teacher's, each by how much is visible.

        Args:
            volume: ``(B, C, *patch)``, whole.
            coarsest: ``(V * B, W, …)``, the student's last map of each view.
            hidden_voxels: ``(V * B, 1, *patch)``.
        """
        whole = map_to_tokens(self.teacher_encoder(volume)[-1])  # type: ignore[misc]
        answered = self.head(map_to_tokens(coarsest).flatten(0, 1))  # type: ignore[misc]
        size = tuple(coarsest.shape[2:])
        visible = F.interpolate((~hidden_voxels).float(), size=size, mode="area").flatten()
        with torch.autocast(volume.device.type, enabled=False):
            target = F.layer_norm(whole.float(), whole.shape[-1:])
            target = target.repeat(self.masks, 1, 1).flatten(0, 1)
            error = F.smooth_l1_loss(answered.float(), target, reduction="none").mean(dim=1)
            return (error * visible).sum() / visible.sum().clamp(min=1.0)

    def after_step(self, step: int) -> None:
        """Let the teacher follow, ever more slowly."""
        if self.teacher_encoder is not None:
            momentum = cosine_between(step, self.plan.steps, start=self.momentum, end=1.0)
            self.teacher_encoder.update(self.encoder, momentum)

    def pictures(self, batch: Batch, generator: torch.Generator) -> list[Picture]:
        """Show one crop, what each mask left of it and what was rebuilt."""
        (volume,) = self.make_views(batch, generator)
        first = volume[:1]
        hidden, _, rebuilt = self._answer(first, generator)
        repeated = first.expand(len(hidden), *first.shape[1:])
        return masking_picture(repeated, upsample_mask(hidden, self.patch), rebuilt)
