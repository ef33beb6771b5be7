"""DISCOVR: a volume as a film of slices, and clusters that film and slices must agree on.

Paper: DISCOVR (echocardiography), arXiv:2506.11777, with its released code. A volume encoder sees
few places and says what its teacher says of the whole; a slice encoder learns from slices in the
same way; places that the volume encoder did not see are assigned to the same clusters as the slice
teacher's features there.
Ours differs: the film is the stack of axial slices, one at random of each layer of places; the
centres follow the teachers' raw scores (the code takes them after the softmax, which centres
nothing); assignments stay soft when they are swapped (the code takes the largest); views differ in
intensity and keep their geometry, so that places of both encoders are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.encoders.base import Encoder
from medssl.encoders.planar import planar_sibling
from medssl.encoders.tokens import gather_tokens, map_to_tokens, split_tokens, token_mask
from medssl.losses.distillation import cluster_distillation, view_distillation
from medssl.methods.base import Method, Targets
from medssl.parts.masking import RandomCells
from medssl.parts.predictor import Predictor, cell_places
from medssl.parts.prototypes import Centre, PrototypeHead
from medssl.parts.slice_stack import random_window, slice_stack
from medssl.parts.teacher import Teacher
from medssl.parts.view_sizes import coarsest_cells, local_edges
from medssl.sampling.body import Body
from medssl.sampling.places import Sampler
from medssl.training.schedules import cosine_between
from medssl.transforms.presets import strong_intensity
from medssl.transforms.views import ViewRecipe
from medssl.types import Losses

__all__ = ["DISCOVR"]


class DISCOVR(Method):
    """Distillation over masked volumes and over slices, joined by clusters.

    Args:
        prototypes: Entries of an answer of the two teachers.
        width: Hidden features of a head; an eighth of them are compared with prototypes.
        clusters: That places of volume and slices are assigned to.
        masks: Masked views of each volume.
        mask_ratio: Share of the places that each hides.
        predictor_width: Features of a place where hidden places are filled in.
        predictor_depth: Transformer blocks there.
        momentum: Of the teachers at the start; it ends at 1.
        teacher_temperature: Of the teachers' answers.
        weights: Of the terms of slices, of volumes and of clusters.
        modality: CT gets half the changes of grey values, MR those of its scanners.
        **shared: Encoder and patch, see :class:`Method`.

    Raises:
        ConfigError: If the encoder sees planar images, or its places do not tile the patch.
    """

    name: ClassVar[str] = "discovr"
    couples_samples: ClassVar[bool] = True

    def __init__(
        self,
        *,
        prototypes: int = 16384,
        width: int = 2048,
        clusters: int = 3000,
        masks: int = 4,
        mask_ratio: float = 0.9,
        predictor_width: int = 384,
        predictor_depth: int = 4,
        momentum: float = 0.996,
        teacher_temperature: float = 0.04,
        weights: tuple[float, float, float] = (1.0, 1.0, 1.0),
        modality: Literal["ct", "mr", "other"] = "other",
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.slice_encoder = planar_sibling(self.encoder)
        size = coarsest_cells(self.patch, self.encoder.strides, None)
        self.mask = RandomCells(ratio=mask_ratio, size=size)
        self.masks = masks
        self.momentum = momentum
        self.teacher_temperature = teacher_temperature
        self.weights = tuple(weights)
        self.modality: Literal["ct", "mr", "other"] = modality
        features, bottleneck = self.encoder.channels[-1], max(1, width // 8)
        self.head = PrototypeHead(features, prototypes, hidden=width, bottleneck=bottleneck)
        self.slice_head = PrototypeHead(features, prototypes, hidden=width, bottleneck=bottleneck)
        self.predictor = Predictor(features, width=predictor_width, depth=predictor_depth)
        self.clusters = nn.Parameter(F.normalize(torch.randn(clusters, features), dim=1))
        self.teacher_encoder = Teacher(self.encoder)
        self.teacher_head = Teacher(self.head)
        self.teacher_slice_encoder = Teacher(self.slice_encoder)
        self.teacher_slice_head = Teacher(self.slice_head)
        self.centre = Centre(prototypes)
        self.slice_centre = Centre(prototypes)

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return the options of tests."""
        small = {"prototypes": 32, "width": 64, "clusters": 8, "masks": 2, "mask_ratio": 0.5}
        return {**small, "predictor_width": 32, "predictor_depth": 2}

    def places(self) -> Sampler:
        """Look where there is body."""
        return Body()

    def views(self) -> ViewRecipe:
        """Two views of each crop that differ in intensity and not in place."""
        return ViewRecipe.pair(strong_intensity(modality=self.modality))

    def loss(
        self,
        views: Sequence[Tensor],
        targets: Targets,  # noqa: ARG002 views teach each other
        generator: torch.Generator,
    ) -> Losses:
        """Return the terms of slices, of volumes and of their clusters."""
        volumes = torch.cat(list(views))
        slices, frames = self._slices(volumes, generator)
        seen, visible, hidden, grid = self._see(volumes, generator)
        places = cell_places(grid, device=volumes.device)
        count = len(volumes)  # the first mask of each view is filled in
        filled = self.predictor(seen[:count], places[visible[:count]], places[hidden[:count]])
        frames = gather_tokens(frames, hidden[:count]).flatten(0, 1)
        terms = {
            "slices": slices,
            "volumes": self._volumes(volumes, seen.mean(dim=1)),
            "clusters": cluster_distillation(filled.flatten(0, 1), frames, self.clusters),
        }
        pairs = zip(self.weights, terms.values(), strict=True)
        return {"loss": torch.stack([weight * term for weight, term in pairs]).sum(), **terms}

    def _see(
        self, volumes: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor, tuple[int, ...]]:
        """Return features of visible places, the places seen and hidden, and their grid."""
        repeated = volumes.repeat(self.masks, *[1] * (volumes.ndim - 1))
        cells = self.mask(repeated.shape, generator)
        features = self.encoder.forward_masked(repeated, cells)[-1]
        grid = tuple(features.shape[2:])
        visible, hidden = split_tokens(token_mask(cells, grid))
        return gather_tokens(map_to_tokens(features), visible), visible, hidden, grid

    def _volumes(self, volumes: Tensor, vectors: Tensor) -> Tensor:
        """Return the cross-entropy of masked views with the teacher's word on the other view."""
        self.last_embedding = vectors.detach()
        with torch.no_grad():
            scores = self.teacher_head(self.teacher_encoder.module.embed(volumes))
        answers = self.centre(scores, self.teacher_temperature)
        half = len(volumes) // 2
        asked = self.head(vectors).view(self.masks, 2, half, -1)
        answers = answers.view(2, half, -1)
        return torch.stack([view_distillation(each, answers) for each in asked]).mean()

    def _slices(self, volumes: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the loss over slices, and their teacher's features ``(n, places, C)``."""
        stack = slice_stack(volumes, self.encoder.strides[-1][-1], generator)
        edges = local_edges(self.patch[:2], self.slice_encoder.strides)
        shown = (stack, random_window(stack, edges, generator))
        vectors = torch.cat([self.slice_encoder.embed(images) for images in shown])
        with torch.no_grad():
            features = self.teacher_slice_encoder(stack)[-1]
            scores = self.teacher_slice_head(features.flatten(2).mean(dim=2))
        half = len(stack) // 2
        answers = self.slice_centre(scores, self.teacher_temperature).view(2, half, -1)
        loss = view_distillation(self.slice_head(vectors).view(4, half, -1), answers)
        frames = features.view(len(volumes), -1, *features.shape[1:])
        return loss, frames.permute(0, 3, 4, 1, 2).flatten(1, 3)

    def after_step(self, step: int) -> None:
        """Let teachers and centres follow."""
        momentum = cosine_between(step, self.plan.steps, start=self.momentum, end=1.0)
        self.teacher_encoder.update(self.encoder, momentum)
        self.teacher_head.update(self.head, momentum)
        self.teacher_slice_encoder.update(self.slice_encoder, momentum)
        self.teacher_slice_head.update(self.slice_head, momentum)
        self.centre.update()
        self.slice_centre.update()

    def exported_encoder(self) -> Encoder:
        """Return the teacher's encoder of volumes, which has seen whole ones."""
        return self.teacher_encoder.module
