"""CheXWorld: predict features of hidden parts, of a neighbouring crop, and across how it looks.

Paper: Yue et al., CVPR 2025, arXiv:2504.13820; reference code: LeapLabTHU/CheXWorld.
Three questions through one predictor: local structure (hidden blocks of a crop), global layout
(blocks of another crop of the same body, by its known place), domain variation (the student sees
changed intensities and is told how they were changed; the teacher sees them as they are).
Ours differs: crops are cut at known places and sizes from volumes or radiographs instead of being
stretched to one size, so that no axis changes its scale by itself, and none is mirrored; places are
in the coordinates of the crop that was seen; both questions see the same context.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from medssl.encoders.base import Encoder
from medssl.encoders.tokens import gather_tokens, map_to_tokens, split_tokens, token_mask
from medssl.losses.latent import latent_loss, variance_hinge
from medssl.methods.base import Method, Targets
from medssl.parts.blocks import BlockCells
from medssl.parts.describe import describe
from medssl.parts.predictor import Predictor, cell_places
from medssl.parts.teacher import Teacher
from medssl.parts.view_sizes import coarsest_cells
from medssl.sampling.pairs import Pairs
from medssl.sampling.places import Sampler
from medssl.training.schedules import cosine_between
from medssl.transforms.presets import gentle_intensity
from medssl.transforms.views import View, ViewRecipe
from medssl.types import Batch, Losses

__all__ = ["CheXWorld"]


class CheXWorld(Method):
    """A model of local structure, global layout and changes of appearance.

    Args:
        mask_ratio: Share of the places of a crop that is hidden and asked for.
        mask_size: Edge of a hidden cell in voxels, a multiple of the encoder's coarsest stride;
            none takes that stride.
        overlap: Least and greatest intersection over union of the two crops.
        scale: Least and greatest edge of the second crop in edges of the first.
        predictor_width: Features of a place in the predictor.
        predictor_depth: Transformer blocks of the predictor.
        momentum: Of the teacher at the start; it ends at 1.
        layout_weight: Of the question about the other crop; that about the own has 1, and the loss
            is their weighted mean.
        variance_weight: Of a term that keeps predictions from being alike; 0 is off.
        strength: Of the changes of intensity.
        **shared: Encoder and patch, see :class:`Method`.

    Raises:
        ConfigError: If the cells do not fit the encoder and the patch.
    """

    name: ClassVar[str] = "chexworld"

    def __init__(
        self,
        *,
        mask_ratio: float = 0.5,
        mask_size: int | None = None,
        overlap: tuple[float, float] = (0.1, 0.6),
        scale: tuple[float, float] = (0.8, 1.25),
        predictor_width: int = 384,
        predictor_depth: int = 6,
        momentum: float = 0.996,
        layout_weight: float = 1.0,
        variance_weight: float = 0.0,
        strength: float = 1.0,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        size = coarsest_cells(self.patch, self.encoder.strides, mask_size)
        self.mask = BlockCells(ratio=mask_ratio, size=size)
        self.overlap = (overlap[0], overlap[1])
        self.scale = (scale[0], scale[1])
        self.momentum = momentum
        self.layout_weight = layout_weight
        self.variance_weight = variance_weight
        self.look = gentle_intensity(strength)
        image = (1, self.encoder.in_channels, *self.patch)
        told = describe(self.look.draw(image, torch.Generator())).shape[1]
        self.predictor = Predictor(
            self.encoder.channels[-1], width=predictor_width, depth=predictor_depth, conditions=told
        )
        self.teacher_encoder = Teacher(self.encoder)

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return the options of tests."""
        return {"predictor_width": 32, "predictor_depth": 2}

    def places(self) -> Sampler:
        """Cut two crops of one body that overlap."""
        return Pairs(iou=self.overlap, scale=self.scale)

    def views(self) -> ViewRecipe:
        """Both crops with changed intensities for the student, and as they are for the teacher."""
        return ViewRecipe((View(transform=self.look), View()))

    def views_and_targets(
        self, batch: Batch, generator: torch.Generator
    ) -> tuple[list[Tensor], Targets]:
        """Return the views, and as target ``look`` what was done to the student's."""
        recipe = self.views()
        drawn = recipe.draw(batch.images.shape, generator)
        look = describe(drawn[0]).to(batch.images.device).view(len(batch.images), 2, -1)
        return recipe.apply(batch.images, drawn), {**batch.targets, "look": look}

    def loss(self, views: Sequence[Tensor], targets: Targets, generator: torch.Generator) -> Losses:
        """Return how far predictions lie from the teacher's features, in and beyond a crop."""
        changed, clean = views
        cells = self.mask(changed.shape, generator)
        features = self.encoder.forward_masked(changed, cells)[-1]
        grid = tuple(features.shape[2:])
        visible, hidden = split_tokens(token_mask(cells, grid))
        seen = gather_tokens(map_to_tokens(features), visible)
        self.last_embedding = seen.detach().mean(dim=1)
        answers = gather_tokens(map_to_tokens(self.teacher_encoder(clean)[-1]), hidden)
        places, look = cell_places(grid, device=changed.device), targets["look"].flatten(0, 1)
        inner = self.predictor(seen, places[visible], places[hidden], look)
        beyond = self._beyond(places[hidden], grid, targets)
        outer = self.predictor(seen, places[visible], beyond, look)
        terms = {
            "structure": latent_loss(inner, answers, distance="square"),
            "layout": latent_loss(outer, _swapped(answers), distance="square"),
        }
        total = terms["structure"] + self.layout_weight * terms["layout"]
        total = total / (1.0 + self.layout_weight)
        if self.variance_weight:
            terms["variance"] = variance_hinge(torch.cat([inner, outer], dim=1))
            total = total + self.variance_weight * terms["variance"]
        return {"loss": total, **terms}

    def _beyond(self, hidden: Tensor, grid: Sequence[int], targets: Targets) -> Tensor:
        """Return where the other crop's hidden places lie in the cells of the own, ``(B, m, d)``.

        ``targets`` tell of the second crop in edges of the first; the way back is the inverse.
        """
        offset, size = targets["relative_position"], targets["relative_size"]
        offsets = torch.stack([offset, -offset / size], dim=1).flatten(0, 1).unsqueeze(1)
        sizes = torch.stack([size, 1.0 / size], dim=1).flatten(0, 1).unsqueeze(1)
        cells = torch.tensor(grid, device=hidden.device)
        from_middle = _swapped(hidden) / cells - 0.5
        return (0.5 + offsets + sizes * from_middle) * cells

    def after_step(self, step: int) -> None:
        """Let the teacher follow."""
        momentum = cosine_between(step, self.plan.steps, start=self.momentum, end=1.0)
        self.teacher_encoder.update(self.encoder, momentum)

    def exported_encoder(self) -> Encoder:
        """Return the teacher's encoder, which the reference uses downstream."""
        return self.teacher_encoder.module


def _swapped(pairs: Tensor) -> Tensor:
    """Return ``(2 * B, …)`` with the two crops of each place exchanged."""
    return pairs.view(-1, 2, *pairs.shape[1:]).flip(1).flatten(0, 1)
