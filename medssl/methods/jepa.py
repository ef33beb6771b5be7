"""JEPA: predict the features of hidden blocks from those of what is visible.

Papers: I-JEPA, Assran et al. 2023, arXiv:2301.08243; V-JEPA, Bardes et al. 2024, arXiv:2404.08471;
reference code: facebookresearch/ijepa and jepa.
Ours differs: all hidden blocks of a volume are asked for at once, as V-JEPA does, and samples of a
batch hide equally much instead of being cut to the least; convolutional encoders take part with the
places of their coarsest map, hidden voxels being zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from medssl.encoders.base import Encoder
from medssl.encoders.tokens import gather_tokens, map_to_tokens, split_tokens, token_mask
from medssl.losses.latent import Distance, latent_loss, variance_hinge
from medssl.methods.base import Targets
from medssl.methods.one_view import OneViewMethod
from medssl.parts.blocks import BlockCells
from medssl.parts.predictor import Predictor, cell_places
from medssl.parts.teacher import Teacher
from medssl.parts.view_sizes import coarsest_cells
from medssl.training.schedules import cosine_between
from medssl.types import Losses

__all__ = ["JEPA"]


class JEPA(OneViewMethod):
    """Masked prediction in the space of features.

    Args:
        mask_ratio: Share of the places that is hidden, in (0, 1).
        mask_size: Edge of a hidden cell in voxels, a multiple of the encoder's coarsest stride;
            none takes that stride.
        block_share: Smallest and largest part of the crop that one hidden block fills.
        predictor_width: Features of a place in the predictor.
        predictor_depth: Transformer blocks of the predictor.
        momentum: Of the teacher at the start; it ends at 1.
        distance: Between features: ``smooth`` (I-JEPA) or ``square``.
        variance_weight: Of a term that keeps predictions from being alike; 0 is off, as published.
        **shared: Encoder, patch and share of body, see :class:`OneViewMethod`.

    Raises:
        ConfigError: If the cells do not fit the encoder and the patch.
    """

    name: ClassVar[str] = "jepa"

    def __init__(
        self,
        *,
        mask_ratio: float = 0.6,
        mask_size: int | None = None,
        block_share: tuple[float, float] = (0.15, 0.2),
        predictor_width: int = 384,
        predictor_depth: int = 6,
        momentum: float = 0.996,
        distance: Distance = "smooth",
        variance_weight: float = 0.0,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        size = coarsest_cells(self.patch, self.encoder.strides, mask_size)
        self.mask = BlockCells(ratio=mask_ratio, size=size, share=block_share)
        self.momentum = momentum
        self.distance: Distance = distance
        self.variance_weight = variance_weight
        self.predictor = Predictor(
            self.encoder.channels[-1], width=predictor_width, depth=predictor_depth
        )
        self.teacher_encoder = Teacher(self.encoder)

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return the options of tests."""
        return {"predictor_width": 32, "predictor_depth": 2}

    def loss(
        self,
        views: Sequence[Tensor],
        targets: Targets,  # noqa: ARG002 the teacher's features are the target
        generator: torch.Generator,
    ) -> Losses:
        """Return how far predicted features lie from the teacher's at hidden places."""
        (volume,) = views
        cells = self.mask(volume.shape, generator)
        features = self.encoder.forward_masked(volume, cells)[-1]
        grid = tuple(features.shape[2:])
        visible, hidden = split_tokens(token_mask(cells, grid))
        seen = gather_tokens(map_to_tokens(features), visible)
        self.last_embedding = seen.detach().mean(dim=1)
        places = cell_places(grid, device=volume.device)
        predicted = self.predictor(seen, places[visible], places[hidden])
        answers = gather_tokens(map_to_tokens(self.teacher_encoder(volume)[-1]), hidden)
        terms = {"features": latent_loss(predicted, answers, distance=self.distance)}
        total = terms["features"]
        if self.variance_weight:
            terms["variance"] = variance_hinge(predicted)
            total = total + self.variance_weight * terms["variance"]
        return {"loss": total, **terms}

    def after_step(self, step: int) -> None:
        """Let the teacher follow."""
        momentum = cosine_between(step, self.plan.steps, start=self.momentum, end=1.0)
        self.teacher_encoder.update(self.encoder, momentum)

    def exported_encoder(self) -> Encoder:
        """Return the teacher's encoder, which sees whole images, as the reference evaluates."""
        return self.teacher_encoder.module
