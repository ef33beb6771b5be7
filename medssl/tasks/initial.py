"""What a task starts from: pretrained weights with their way of preparing images, or neither."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medssl.cohort.datasets import Case, LabelledDataset
from medssl.encoders import Encoder, build_encoder
from medssl.errors import DatasetError, WeightsMismatchError
from medssl.io.read import read_header
from medssl.store.prepare import Outcome, Progress, prepare_dataset
from medssl.store.recipe import Recipe
from medssl.store.sources import median_spacing_mm
from medssl.store.store import Store
from medssl.tasks.cases import Cases
from medssl.types import Modality, Shape
from medssl.weights.load import encoder_from, find_export
from medssl.weights.manifest import InputContract, Manifest, read_manifest
from medssl.weights.records import to_json

__all__ = ["NO_WEIGHTS", "Start", "choose_start"]

NO_WEIGHTS = "none"
DEFAULT_ENCODER = "resenc_s"


@dataclass(frozen=True)
class Start:
    """An encoder, and what its images must look like as far as its weights demand it.

    Attributes:
        encoder: Trainable.
        manifest: What came with the weights; none for a run from scratch.
    """

    encoder: Encoder
    manifest: Manifest | None

    @property
    def origin(self) -> str:
        """Which weights these are, for the record of a run."""
        if self.manifest is None:
            return NO_WEIGHTS
        return f"{self.manifest.id} ({self.manifest.file.sha256[:12]})"

    @property
    def modality(self) -> Modality | None:
        """What images are to be taken for; none lets each image say it."""
        return None if self.manifest is None else self.manifest.input.modality

    def recipe(self, spacing_mm: tuple[float, ...] | None, cases: Sequence[Case]) -> Recipe:
        """Return how images are prepared: as for the weights, save for a spacing that is asked for.

        Args:
            spacing_mm: Voxel size that the user wants; none keeps that of the weights, or takes the
                median of the cases.
            cases: The cases to train on.
        """
        if self.manifest is None:
            return Recipe(spacing_mm=spacing_mm or _median_spacing_mm(cases))
        recipe = Recipe.from_dict(self.manifest.input.recipe)
        return recipe if spacing_mm is None else dataclasses.replace(recipe, spacing_mm=spacing_mm)

    def prepare(
        self,
        dataset: LabelledDataset,
        cases: Cases,
        folder: Path,
        *,
        spacing_mm: tuple[float, ...] | None = None,
        progress: Progress | None = None,
    ) -> Store:
        """Write the cases into a store, prepared as the weights demand.

        Args:
            dataset: Where the cases come from.
            cases: The cases of this run.
            folder: The store; what is there already and still fits is kept.
            spacing_mm: Voxel size that the user wants, see :meth:`recipe`.
            progress: Is shown what became of each case.

        Raises:
            DatasetError: If a case can't be used; labels are too dear to leave one out in silence.
        """
        failures: list[Outcome] = []

        def watch(outcomes: Iterable[Outcome], total: int) -> Iterator[Outcome]:
            for outcome in outcomes if progress is None else progress(outcomes, total):
                if outcome.row is None:
                    failures.append(outcome)
                yield outcome

        store = prepare_dataset(
            dataclasses.replace(dataset, cases=list(cases.all)),
            folder,
            self.recipe(spacing_mm, cases.training),
            modality=self.modality,
            progress=watch,
        )
        if failures:
            raise DatasetError(
                f"{len(failures)} of {len(cases.all)} cases can't be used; the first is "
                f"{failures[0].volume}: {failures[0].detail}. Mend it, or leave it out"
            )
        return store

    def contract(self, store: Store, patch: Shape) -> InputContract:
        """Return what an input of the model must look like.

        Args:
            store: What :meth:`prepare` wrote.
            patch: Edges of a crop.
        """
        found: set[Any] = {store.row(volume)["modality"] for volume in store.ids}
        return InputContract(
            modality=self.modality or (found.pop() if len(found) == 1 else "unknown"),
            recipe=store.recipe.to_dict(),
            recipe_hash=store.recipe.hash,
            patch=tuple(patch),
        )


def choose_start(
    weights: str,
    *,
    patch: Shape,
    seed: int,
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Start:
    """Return what a task starts from.

    Args:
        weights: An export folder, a run folder that holds one, a published file, an id of the zoo,
            or ``none``.
        patch: Edges of a crop; two ask for a planar encoder.
        seed: Decides the weights of a run from scratch.
        name: The encoder that the configuration names, if it does; weights must be of that one.
        options: Its options.

    Raises:
        InputError: If there are no weights at that place.
        WeightsMismatchError: If they are for another encoder, for other options of it, or for
            another number of dimensions.
    """
    if weights == NO_WEIGHTS:
        torch.manual_seed(seed)
        encoder = build_encoder(
            name or DEFAULT_ENCODER,
            spatial_dims=len(patch),
            in_channels=1,
            patch=patch,
            **(options or {}),
        )
        return Start(encoder, None)
    folder = find_export(weights)
    manifest = read_manifest(folder / "manifest.json")
    if name is not None:
        _refuse_other_encoder(manifest, name, options or {})
    dims = manifest.encoder.config.get("spatial_dims", 3)
    if dims != len(patch):
        raise WeightsMismatchError(
            f"the weights are for {dims}D images and data.patch {tuple(patch)} asks for "
            f"{len(patch)}D crops; give a patch of {dims} numbers or other weights"
        )
    encoder = encoder_from(folder, manifest).requires_grad_(True).train()
    return Start(encoder, manifest)


def _refuse_other_encoder(manifest: Manifest, name: str, options: Mapping[str, Any]) -> None:
    held = manifest.encoder
    if held.name != name:
        raise WeightsMismatchError(
            f'the weights are for encoder "{held.name}" and the configuration asks for "{name}"; '
            f"leave out the section encoder to take that of the weights, or give other weights"
        )
    differing = [
        f"{key} is {to_json(value)} in the configuration and {held.config[key]} in the weights"
        for key, value in options.items()
        if key in held.config and to_json(value) != to_json(held.config[key])
    ]
    if differing:
        raise WeightsMismatchError(
            f'the weights are for another "{name}": {"; ".join(differing)}. Leave out the section '
            "encoder to take that of the weights"
        )


def _median_spacing_mm(cases: Sequence[Case]) -> tuple[float, ...] | None:
    """Return the median voxel size of images with three axes; planar images keep their own."""
    rows = []
    for case in cases:
        header = read_header(case.image)
        spacing = np.sqrt((header.affine[:3, :3] ** 2).sum(axis=0))
        rows.append({"shape": header.shape, "affine": header.affine, "spacing_mm": spacing})
    return median_spacing_mm(rows) if any(len(row["shape"]) == 3 for row in rows) else None
