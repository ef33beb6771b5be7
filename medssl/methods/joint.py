"""Joint: any sum of methods over one encoder.

In the OpenMind benchmark masking was best for segmentation and contrast for classification; their
sum, ``mae_cnn`` and ``voco``, is the first recipe. Terms look at the same places; views that are
equal are made once, and an encoder is asked about the same images once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from medssl.encoders.base import Encoder
from medssl.errors import ConfigError
from medssl.losses.supervision import Supervision
from medssl.methods.base import METHODS, Method, Targets
from medssl.methods.mae_cnn import MAECNN
from medssl.methods.voco import VoCo
from medssl.parts.memo import remembered
from medssl.registry import nearest
from medssl.sampling.agreement import CROP_OVERLAP, SharedPlaces, agreed, is_same
from medssl.sampling.overlaps import Overlaps
from medssl.sampling.partners import JointSampler
from medssl.sampling.places import Sampler
from medssl.transforms.views import ViewRecipe, merged
from medssl.types import Batch, Losses, Picture

__all__ = ["Joint"]

SHARED = Method.options()
"""Options that all methods have: those of the sum hold for its terms."""


class Joint(Method):
    """A weighted sum of methods that train one encoder.

    Places are those of the first term whose crops have a meaning (a grid, a whole and its parts,
    corresponding crops), else of the first with several crops a place, else of the first. Terms
    that ask for crops anywhere, as masked ones do, take all crops of a place.

    Args:
        terms: The methods: each a ``name``, a ``weight`` (1 by default) and the method's own
            options; none is ``mae_cnn`` and ``voco``.
        classes: How many labels the masks of ``pretrain --labels`` have, the background not
            counted; a decoder that is thrown away learns them beside. 0 learns from no labels.
        labels_weight: Weight of what they teach.
        **shared: Encoder and patch, see :class:`Method`.

    Raises:
        ConfigError: If there is no term, an option is not known, or terms can't share places.
        UnknownNameError: If there is no method of that name.
    """

    name: ClassVar[str] = "joint"
    couples_samples: ClassVar[bool] = True  # as soon as one term does

    def __init__(
        self,
        *,
        terms: list[dict[str, Any]] | None = None,
        classes: int = 0,
        labels_weight: float = 1.0,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        chosen = [{"name": "mae_cnn"}, {"name": "voco"}] if terms is None else terms
        if not chosen:
            raise ConfigError("joint sums no terms; give at least one, such as {name: mae_cnn}")
        self.weights: dict[str, float] = {}
        for term in chosen:
            label = self._free_label(str(term.get("name", "")))
            # A direct child, so that Lightning tells it how far the run is.
            self.add_module(label, self._built(term))
            self.weights[label] = float(term.get("weight", 1.0))
        samplers = [term.places() for term in self.terms.values()]
        number = agreed(samplers, list(self.weights))
        self.sampler = samplers[number]
        self._own_places = {
            label: is_same(sampler, self.sampler)
            for label, sampler in zip(self.weights, samplers, strict=True)
        }
        self._tells_overlap = {
            label: isinstance(sampler, Overlaps)
            for label, sampler in zip(self.weights, samplers, strict=True)
        }
        self.classes, self.labels_weight = classes, labels_weight
        self.supervision = Supervision(self.encoder, classes=classes) if classes else None
        self._recipe, self._slots = merged({k: term.views() for k, term in self.terms.items()})

    def _free_label(self, name: str) -> str:
        """Return the name of a term, with a number from the second of that name on."""
        count = sum(label.partition("-")[0] == name for label in self.weights)
        return f"{name}-{count + 1}" if count else name

    def _built(self, term: Mapping[str, Any]) -> Method:
        if "name" not in term or term["name"] == self.name:
            raise ConfigError(f"a term of joint is {dict(term)}; expected the name of a method")
        method = METHODS[term["name"]]
        options = {key: term[key] for key in term if key not in ("name", "weight")}
        # What belongs to the views as a whole is an option of the sum; a term may name its default.
        known = method.options() - {"encoder", "patch"}
        for key in options:
            if key not in known or (key in SHARED and options[key]):
                raise ConfigError(f'term "{method.name}" has no "{key}"; {nearest(key, known)}')
        return method(encoder=self.encoder, patch=self.patch, **options)

    @property
    def terms(self) -> dict[str, Method]:
        """The methods by label, in the order given."""
        found: dict[str, Method] = {label: self.get_submodule(label) for label in self.weights}  # type: ignore[misc]  # only methods were added
        return found

    @property
    def wants_frames(self) -> bool:  # type: ignore[override]  # of its terms, which are options
        """Whether any term wants to be told from where its views were read."""
        return any(term.wants_frames for term in self.terms.values())

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return the options of tests."""
        masked = {"name": "mae_cnn", "weight": 2.0, **MAECNN.tiny()}
        return {"terms": [masked, {"name": "voco", **VoCo.tiny()}]}

    def places(self) -> Sampler | JointSampler:
        """Look where the term looks that is hardest to please."""
        if isinstance(self.sampler, JointSampler) or not any(self._tells_overlap.values()):
            return self.sampler
        return SharedPlaces(self.sampler)

    def views(self) -> ViewRecipe:
        """The views of all terms, each as often as the term that needs it most often."""
        return self._recipe

    def loss(self, views: Sequence[Tensor], targets: Targets, generator: torch.Generator) -> Losses:
        """Return the weighted sum, and the losses of each term under its name."""
        total = views[0].new_zeros(())
        logged: Losses = {}
        with remembered(self.encoder):
            for label, term in self.terms.items():
                term.plan = self.plan
                slots = self._slots[label]
                own = [views[slot] for slot in slots]
                losses = term.loss(own, self._targets_of(label, targets), generator)
                total = total + self.weights[label] * losses["loss"]
                logged |= {f"{label}/{name}": value for name, value in losses.items()}
                if (embedding := getattr(term, "last_embedding", None)) is not None:
                    self.last_embedding = embedding
            if self.supervision is not None:
                labelled, masks = targets["labelled"], targets["label"]
                logged["labels"] = self.supervision(self.encoder, labelled, masks, generator)
                total = total + self.labels_weight * logged["labels"]
        return {"loss": total, **logged}

    def _targets_of(self, label: str, targets: Targets) -> Targets:
        """Return what a term may know: of foreign places nothing but which crops overlap."""
        if self._own_places[label]:
            own = {k: v for k, v in targets.items() if k not in (CROP_OVERLAP, "frames")}
        else:
            own = {}
            if self._tells_overlap[label] and CROP_OVERLAP in targets:
                own["overlap"] = targets[CROP_OVERLAP]
        if self.terms[label].wants_frames:
            own["frames"] = [targets["frames"][slot] for slot in self._slots[label]]
        return own

    def after_step(self, step: int) -> None:
        """Let each term follow the step."""
        for term in self.terms.values():
            term.plan = self.plan
            term.after_step(step)

    def exported_encoder(self) -> Encoder:
        """Return the teacher's encoder of the first term that exports one, else the student's."""
        exported = [term.exported_encoder() for term in self.terms.values()]
        return next((each for each in exported if each is not self.encoder), self.encoder)

    def pictures(self, batch: Batch, generator: torch.Generator) -> list[Picture]:
        """Show what each term shows."""
        found = []
        for label, term in self.terms.items():
            own = dataclasses.replace(batch, targets=dict(self._targets_of(label, batch.targets)))
            found += [
                dataclasses.replace(picture, title=f"{label}: {picture.title}")
                for picture in term.pictures(own, generator)
            ]
        return found
