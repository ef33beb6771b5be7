"""Alice: the same anatomy in two patients gets the same meaning, while hidden parts are rebuilt.

Paper: Jiang et al., ICCV 2023, "Anatomical invariance modeling and semantic alignment for
self-supervised learning in 3D medical image analysis"; reference: alibaba-damo-academy/alice.
Ours differs: corresponding crops come from body coordinates and not from a second network (SAM)
that is run beforehand; the teacher's side takes no gradient at all (the reference's alignment of
the teacher's tokens is inside the graph); places that ask do not enter the aligned answer (see
:class:`~medssl.parts.alignment.ConditionalAlignment`); only hidden voxels are judged, at half the
reference's weight of 10, since its error is halved; the teacher's temperature is 0.04 and not 0.01.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from medssl.encoders.base import Encoder, upsample_mask
from medssl.encoders.decoders import LightDecoder
from medssl.losses.distillation import masked_distillation, view_distillation
from medssl.losses.reconstruction import masked_mse
from medssl.methods.base import Method, Targets
from medssl.parts.alignment import ConditionalAlignment
from medssl.parts.masking import RandomCells
from medssl.parts.pictures import masking_picture
from medssl.parts.prototypes import Centre, PrototypeHead
from medssl.parts.teacher import Teacher
from medssl.sampling.partners import Corresponding, JointSampler
from medssl.training.schedules import cosine_between
from medssl.transforms.presets import gentle_intensity
from medssl.transforms.views import ViewRecipe
from medssl.types import Batch, Losses, Picture

__all__ = ["Alice"]

PATIENTS = 2


class Alice(Method):
    """Anatomical invariance and semantic alignment with masked modelling.

    A place is one crop of each of two patients, around the same place of their bodies. The student
    sees a masked form of both, the teacher all of both. Users get the teacher's encoder.

    Args:
        mask_ratio: Share of the cells that the student does not see, in (0, 1).
        mask_size: Edge of a hidden cube in voxels; must tile the patch.
        prototypes: What the meaning of crops and places is told by.
        invariance_weight: Weight of the agreement of whole crops across patients.
        alignment_weight: Weight of the agreement of places, aligned across patients.
        reconstruction_weight: Weight of the error over hidden voxels.
        temperature: Of the student's answers.
        teacher_temperature: Of the teacher's.
        momentum: Of the teacher at the start; it rises to 1.
        heads: Attention heads of the alignment, of 64 features each.
        width: Hidden features of the heads; the alignment's perceptron has as many.
        body_share: Least share of body in the first crop.
        **shared: Encoder and patch, see :class:`Method`.
    """

    name: ClassVar[str] = "alice"
    couples_samples: ClassVar[bool] = True  # the first batch is its own centre

    def __init__(
        self,
        *,
        mask_ratio: float = 0.75,
        mask_size: int = 16,
        prototypes: int = 512,
        invariance_weight: float = 1.0,
        alignment_weight: float = 1.0,
        reconstruction_weight: float = 5.0,
        temperature: float = 0.1,
        teacher_temperature: float = 0.04,
        momentum: float = 0.99,
        heads: int = 8,
        width: int = 2048,
        body_share: float = 0.3,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.mask = RandomCells(ratio=mask_ratio, size=mask_size)
        self.weights = {
            "invariance": invariance_weight,
            "alignment": alignment_weight,
            "reconstruction": reconstruction_weight,
        }
        self.temperature, self.teacher_temperature = temperature, teacher_temperature
        self.momentum = momentum
        self.sampler = Corresponding(volumes=PATIENTS, share=body_share)
        features = self.encoder.channels[-1]
        self.decoder = LightDecoder(self.encoder, out_channels=self.encoder.in_channels)
        self.align = ConditionalAlignment(features, heads=heads, hidden=width)
        self.head = PrototypeHead(features, prototypes, hidden=width)
        self.place_head = PrototypeHead(features, prototypes, hidden=width)
        self.teacher_encoder = Teacher(self.encoder)
        self.teacher_head = Teacher(self.head)
        self.teacher_place_head = Teacher(self.place_head)
        self.centre, self.place_centre = Centre(prototypes), Centre(prototypes)

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return the options of tests."""
        return {"mask_size": 4, "prototypes": 32, "heads": 2, "width": 32}

    def places(self) -> JointSampler:
        """Look at the same part of two bodies."""
        return self.sampler

    def views(self) -> ViewRecipe:
        """Each crop with intensities of its own; nothing is mirrored or moved."""
        return ViewRecipe.single(gentle_intensity())

    def loss(self, views: Sequence[Tensor], targets: Targets, generator: torch.Generator) -> Losses:  # noqa: ARG002
        """Return the agreement of crops, that of aligned places, and the error of rebuilding."""
        (crops,) = views
        hidden = self.mask(crops.shape, generator)
        maps = self.encoder.forward_masked(crops, hidden)
        tokens = maps[-1].flatten(2).mT
        vectors = tokens.mean(dim=1)
        self.last_embedding = vectors.detach()
        scores = self.head(vectors).unflatten(0, (-1, PATIENTS)).transpose(0, 1)
        place_scores = self.place_head(self.align(tokens, _partners(tokens)).flatten(0, 1))
        meaning, place_meaning = self._taught(crops, tokens)
        every = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        rebuilt = self.decoder(maps, self.patch)
        terms = {
            "invariance": view_distillation(scores, meaning, temperature=self.temperature),
            "alignment": masked_distillation(
                place_scores, place_meaning, every, temperature=self.temperature
            ),
            "reconstruction": masked_mse(rebuilt, crops, upsample_mask(hidden, self.patch)),
        }
        total = torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()
        return {"loss": total, **terms}

    @torch.no_grad()
    def _taught(self, crops: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
        """Return the teacher's answers for crops ``(2, B, K)`` and for aligned places ``(n, K)``.

        The student's places ask here too: both sides answer the same question, and only what is
        found in the partner, hidden in part or whole, differs.
        """
        tokens = self.teacher_encoder(crops)[-1].flatten(2).mT
        scores = self.teacher_head(tokens.mean(dim=1))
        meaning = self.centre(scores, self.teacher_temperature)
        place_scores = self.teacher_place_head(self.align(asked, _partners(tokens)).flatten(0, 1))
        place_meaning = self.place_centre(place_scores, self.teacher_temperature)
        return meaning.unflatten(0, (-1, PATIENTS)).transpose(0, 1), place_meaning

    def after_step(self, step: int) -> None:
        """Let the teachers and their centres follow."""
        momentum = cosine_between(step, self.plan.steps, start=self.momentum, end=1.0)
        self.teacher_encoder.update(self.encoder, momentum)
        self.teacher_head.update(self.head, momentum)
        self.teacher_place_head.update(self.place_head, momentum)
        self.centre.update()
        self.place_centre.update()

    def exported_encoder(self) -> Encoder:
        """Return the teacher's encoder, which has seen whole crops."""
        return self.teacher_encoder.module

    def pictures(self, batch: Batch, generator: torch.Generator) -> list[Picture]:
        """Show two crops that correspond: input, visible part and reconstruction."""
        (crops,) = self.make_views(batch, generator)
        hidden = self.mask(crops.shape, generator)
        rebuilt = self.decoder(self.encoder.forward_masked(crops, hidden), self.patch)
        return masking_picture(crops, upsample_mask(hidden, self.patch), rebuilt)


def _partners(tokens: Tensor) -> Tensor:
    """Return for each crop the tokens of the crop that corresponds to it."""
    return tokens.view(-1, PATIENTS, *tokens.shape[1:]).flip(1).flatten(0, 1)
