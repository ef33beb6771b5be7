"""VoCo: where in the body does this crop come from?

A volume is tiled by base crops; a random crop must be as similar to each base as they overlap in
space.

Papers: Wu et al., CVPR 2024 (arXiv:2402.17300) and its journal version with the Large-Scale-Medical
code. One class holds all the published forms: the paper's single network (``teacher="none"``), the
released code's pair of networks (``"full"``), version 2's pair of heads (``"head"``), squared or
logarithmic negatives, and contrast between volumes.
Ours differs: overlap is measured by volume on a grid with any number of layers; crops keep their
spacing (the first version resized whole volumes); no flip or quarter turn, which would swap left
and right under a task that is about position.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from medssl.encoders.base import Encoder
from medssl.losses.position import (
    Negative,
    inter_volume_loss,
    position_accuracy,
    position_loss,
    predicted_overlap,
    regularisation,
)
from medssl.methods.base import Method, Targets
from medssl.parts.gather import gather
from medssl.parts.heads import mlp
from medssl.parts.pictures import position_pictures
from medssl.parts.teacher import Teacher
from medssl.sampling.grid import Grid
from medssl.sampling.places import Sampler
from medssl.transforms.presets import gentle_intensity
from medssl.transforms.views import ViewRecipe
from medssl.types import Batch, Losses, Picture

__all__ = ["VoCo"]


class VoCo(Method):
    """Volume contrast by position.

    Args:
        grid: Base crops along each axis; a planar encoder takes the first two numbers.
        crops: Random crops a volume.
        teacher: Whose embeddings are the reference: ``none`` detaches the bases of the one network,
            ``head`` keeps a running mean of the projection head, ``full`` of the whole network.
        momentum: Of the running mean.
        negative: Penalty on bases that do not overlap: ``square`` (version 1) or ``log`` (version
            2).
        inter_weight: Weight of the contrast between volumes of a batch (version 2); 0 is off.
        inter_pairs: ``all`` ordered pairs of volumes, those of other devices too, or each with the
            ``next``, as in the released code.
        regularisation_weight: Weight of the term that keeps bases apart.
        regularisation_power: 2 squares that term (VoCo), 1 does not (nnssl).
        dropout: Share of the student's embedding that is dropped (version 2 takes 0.2).
        width: Hidden and output features of the projection head.
        norm: Of the projection head: ``batch`` (the released code, where crops of a batch see each
            other) or ``layer`` (nnssl).
        **shared: Encoder and patch, see :class:`Method`.
    """

    name: ClassVar[str] = "voco"
    couples_samples: ClassVar[bool] = True

    def __init__(
        self,
        *,
        grid: tuple[int, ...] = (3, 3, 2),
        crops: int = 4,
        teacher: Literal["none", "head", "full"] = "none",
        momentum: float = 0.9,
        negative: Negative = "square",
        inter_weight: float = 0.0,
        inter_pairs: Literal["all", "next"] = "all",
        regularisation_weight: float = 1.0,
        regularisation_power: Literal[1, 2] = 2,
        dropout: float = 0.0,
        width: int = 1024,
        norm: Literal["batch", "layer"] = "layer",
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.grid = tuple(grid)[: len(self.patch)]
        self.crops = crops
        self.negative: Negative = negative
        self.inter_weight = inter_weight
        self.inter_pairs: Literal["all", "next"] = inter_pairs
        self.regularisation_weight = regularisation_weight
        self.regularisation_power: Literal[1, 2] = regularisation_power
        self.momentum = momentum
        self.dropout = nn.Dropout(dropout)
        self.head = mlp(sum(self.encoder.channels), width, width, layers=3, norm=norm)
        self.teacher_encoder = Teacher(self.encoder) if teacher == "full" else None
        self.teacher_head = Teacher(self.head) if teacher != "none" else None

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return the options of tests."""
        return {"grid": (2, 2, 1), "crops": 2, "width": 32}

    def places(self) -> Sampler:
        """Cut base crops that tile a window, and random crops within it."""
        return Grid(grid=self.grid, crops=self.crops)

    def views(self) -> ViewRecipe:
        """Bases and random crops, each with intensity changes of its own."""
        bases = math.prod(self.grid)
        return ViewRecipe.groups(
            (range(bases), gentle_intensity()),
            (range(bases, bases + self.crops), gentle_intensity()),
        )

    def loss(
        self,
        views: Sequence[Tensor],
        targets: Targets,
        generator: torch.Generator,  # noqa: ARG002 nothing is drawn
    ) -> Losses:
        """Return the loss of position, the likeness of the bases and the contrast of volumes."""
        overlap = targets["overlap"]
        bases, crops = self._embed(views, len(overlap), self.encoder, self.head, self.dropout)
        fixed_bases, fixed_crops = self._reference(views, bases, crops)
        predicted = predicted_overlap(crops, fixed_bases, overlap)
        if self.teacher_encoder is not None:
            # the released code lets student and teacher change places and takes the mean
            predicted = (predicted + predicted_overlap(fixed_crops, bases, overlap)) / 2
        terms = {
            "position": position_loss(overlap, predicted, negative=self.negative),
            "spread": regularisation(bases, power=self.regularisation_power),
        }
        total = terms["position"] + self.regularisation_weight * terms["spread"]
        if self.inter_weight:
            joint = [gather(part) for part in (crops, bases, fixed_crops, fixed_bases)]
            terms["inter"] = inter_volume_loss(
                joint[0], joint[1], joint[2], joint[3], pairs=self.inter_pairs
            )
            total = total + self.inter_weight * terms["inter"]
        accuracy = position_accuracy(crops, fixed_bases, overlap)
        return {"loss": total, **terms, "position_accuracy": accuracy}

    def _embed(
        self,
        views: Sequence[Tensor],
        places: int,
        encoder: Encoder,
        head: nn.Module,
        dropout: nn.Module | None = None,
    ) -> list[Tensor]:
        """Return the embeddings of bases ``(B, n, D)`` and crops ``(B, k, D)`` from one pass."""
        maps = encoder(torch.cat(list(views)))
        pooled = torch.cat([m.flatten(2).mean(dim=2) for m in maps], dim=1)
        if dropout is not None:
            pooled = dropout(pooled)
        parts = head(pooled).split([len(view) for view in views])
        return [part.unflatten(0, (places, -1)) for part in parts]

    @torch.no_grad()
    def _reference(
        self, views: Sequence[Tensor], bases: Tensor, crops: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the embeddings that the student is compared with, without gradient."""
        if self.teacher_head is None:
            return bases.detach(), crops.detach()
        encoder = self.encoder if self.teacher_encoder is None else self.teacher_encoder.module
        fixed = self._embed(views, len(bases), encoder, self.teacher_head.module)
        return fixed[0], fixed[1]

    def after_step(self, step: int) -> None:  # noqa: ARG002 the momentum is constant, as in the code
        """Let the teacher follow."""
        if self.teacher_head is not None:
            self.teacher_head.update(self.head, self.momentum)
        if self.teacher_encoder is not None:
            self.teacher_encoder.update(self.encoder, self.momentum)

    def exported_encoder(self) -> Encoder:
        """Return the teacher's encoder if there is one: the released weights are the teacher's."""
        return self.encoder if self.teacher_encoder is None else self.teacher_encoder.module

    def pictures(self, batch: Batch, generator: torch.Generator) -> list[Picture]:
        """Show base and random crops, and their overlaps as they are and as they were answered."""
        views = self.make_views(batch, generator)
        overlap = batch.targets["overlap"]
        bases, crops = self._embed(views, len(overlap), self.encoder, self.head)
        answered = predicted_overlap(crops, bases)
        accuracy = float(position_accuracy(crops, bases, overlap))
        return position_pictures(views[0], views[1], overlap, answered[0], self.grid, accuracy)
