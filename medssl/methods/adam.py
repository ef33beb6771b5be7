"""Adam: a body is understood by where a part is, what it is made of and what it is part of.

Paper: Taher, Gotway and Liang, CVPR 2024 ("Representing part-whole hierarchies in foundation models
by learning localizability, composability, and decomposability from anatomy via self-supervision",
Adam-v2). No code was read; the losses follow the abstract and leave their weights as arguments.
Ours differs: octants in volumes, where the paper tiles radiographs; whole and parts are both
anchors, so that one place holds anchors of two scales; there is no curriculum over the number of
parts; what all anchors of a batch have in common is taken off before vectors are compared, for it
is most of a vector's length and says nothing about any of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.encoders.base import Encoder
from medssl.errors import ConfigError
from medssl.losses.distillation import view_distillation
from medssl.losses.prediction import cosine_distance
from medssl.methods.base import Method, Targets
from medssl.parts.gather import mean_over_ranks
from medssl.parts.heads import mlp
from medssl.parts.pictures import likeness_matrix, middle_slice
from medssl.parts.prototypes import Centre, PrototypeHead
from medssl.parts.teacher import Teacher
from medssl.sampling.places import Sampler
from medssl.sampling.scales import PartWhole
from medssl.training.schedules import cosine_between
from medssl.transforms.presets import gentle_intensity
from medssl.transforms.views import ViewRecipe
from medssl.types import Batch, Losses, Picture

__all__ = ["Adam"]


class Adam(Method):
    """Localizability, composability and decomposability.

    A place is a box and the parts that tile it: the octants of a volume, the quadrants of an image.
    Users get the teacher's encoder.

    Args:
        factor: Parts along each edge of the whole.
        prototypes: What anchors are told apart by (localizability).
        composition_weight: Weight of answering from its parts what the whole is.
        decomposition_weight: Weight of answering from the whole what its parts are.
        temperature: Of the student's answers about prototypes.
        teacher_temperature: Of the teacher's.
        momentum: Of the teacher at the start; it rises to 1.
        width: Hidden features of the heads.
        body_share: Least share of body in the whole.
        **shared: Encoder and patch, see :class:`Method`.

    Raises:
        ConfigError: If the whole has no parts.
    """

    name: ClassVar[str] = "adam"
    couples_samples: ClassVar[bool] = True

    def __init__(
        self,
        *,
        factor: int = 2,
        prototypes: int = 1024,
        composition_weight: float = 1.0,
        decomposition_weight: float = 1.0,
        temperature: float = 0.1,
        teacher_temperature: float = 0.04,
        momentum: float = 0.99,
        width: int = 1024,
        body_share: float = 0.5,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if factor < 2:
            raise ConfigError(f"a whole of {factor} part an edge has no parts; use 2 or more")
        self.sampler = PartWhole(factor=factor, share=body_share)
        self.parts = factor ** len(self.patch)
        self.weights = {
            "localizability": 1.0,
            "composability": composition_weight,
            "decomposability": decomposition_weight,
        }
        self.temperature, self.teacher_temperature = temperature, teacher_temperature
        self.momentum = momentum
        features = self.encoder.channels[-1]
        self.head = PrototypeHead(features, prototypes, hidden=width)
        self.compose = mlp(self.parts * features, width, features, norm="layer")
        self.decompose = mlp(features, width, self.parts * features, norm="layer")
        self.teacher_encoder = Teacher(self.encoder)
        self.teacher_head = Teacher(self.head)
        self.centre = Centre(prototypes)

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return the options of tests."""
        return {"prototypes": 32, "width": 32}

    def places(self) -> Sampler:
        """Cut a whole, and the parts that tile it."""
        return self.sampler

    def views(self) -> ViewRecipe:
        """Two views of each, which differ in intensities; whole and parts stay in their places."""
        return ViewRecipe.pair(gentle_intensity())

    def loss(
        self,
        views: Sequence[Tensor],
        targets: Targets,  # noqa: ARG002 crops come in a known order
        generator: torch.Generator,  # noqa: ARG002 nothing is drawn
    ) -> Losses:
        """Return how well anchors are recognised, put together and taken apart."""
        seen = torch.cat(list(views))
        vectors = self.encoder.embed(seen)
        self.last_embedding = vectors.detach()
        scores = self.head(vectors)
        with torch.no_grad():
            taught = self.teacher_encoder.module.embed(seen)
            meaning = self.centre(self.teacher_head(taught), self.teacher_temperature)
        wholes, parts = self._apart(vectors)
        # what the student says of one view is compared with what the teacher sees in the other
        told = taught - mean_over_ranks(taught.mean(dim=0))
        taught_wholes, taught_parts = (each.flip(0) for each in self._apart(told))
        terms = {
            "localizability": view_distillation(
                scores.view(2, len(views[0]), -1),
                meaning.view(2, len(views[0]), -1),
                temperature=self.temperature,
            ),
            "composability": cosine_distance(self.compose(parts.flatten(2)), taught_wholes),
            "decomposability": cosine_distance(
                self.decompose(wholes).view_as(taught_parts), taught_parts
            ),
        }
        total = torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()
        return {"loss": total, **terms}

    def _apart(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return vectors of wholes ``(2, B, C)`` and of their parts ``(2, B, parts, C)``."""
        both = vectors.view(2, -1, 1 + self.parts, vectors.shape[1])
        return both[:, :, 0], both[:, :, 1:]

    def after_step(self, step: int) -> None:
        """Let the teacher and its centre follow."""
        momentum = cosine_between(step, self.plan.steps, start=self.momentum, end=1.0)
        self.teacher_encoder.update(self.encoder, momentum)
        self.teacher_head.update(self.head, momentum)
        self.centre.update()

    def exported_encoder(self) -> Encoder:
        """Return the teacher's encoder, as is usual where a teacher sees all there is."""
        return self.teacher_encoder.module

    def pictures(self, batch: Batch, generator: torch.Generator) -> list[Picture]:
        """Show a whole and its parts, and which part each answer about the whole is most like."""
        (first, second) = self.make_views(batch, generator)
        wholes, parts = self._apart(self.encoder.embed(torch.cat([first, second])))
        answers = F.normalize(self.decompose(wholes[0]).view_as(parts[1]).float(), dim=-1)
        told = parts[1].float() - parts[1].float().mean(dim=(0, 1))
        likeness = answers @ F.normalize(told, dim=-1).mT
        right = likeness.argmax(dim=2).cpu() == torch.arange(self.parts)
        names = ["whole", *(f"part {number + 1}" for number in range(self.parts))]
        return [
            Picture(
                title="A whole and its parts",
                panels=tuple(zip(names, map(middle_slice, first), strict=False)),
                caption="The whole is seen at half the resolution of its parts or less.",
            ),
            likeness_matrix(
                "What the whole is made of",
                likeness[0],
                "Rows: what the whole tells of each of its parts; columns: the parts. "
                f"{int(right.sum())} of {right.numel()} answers are most like the part that was "
                f"asked for; by chance 1 in {self.parts}.",
            ),
        ]
