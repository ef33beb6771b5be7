"""From an export folder to a network and the function that prepares its input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medssl.encoders import Encoder, build_encoder
from medssl.errors import WeightsMismatchError
from medssl.io.geometry import pad_to
from medssl.io.read import read_volume
from medssl.store.recipe import Recipe
from medssl.types import Volume
from medssl.weights.golden import golden_features
from medssl.weights.locate import find_export
from medssl.weights.manifest import InputContract, Manifest, read_manifest
from medssl.weights.state import load_state, read_tensors

__all__ = [
    "Preprocess",
    "encoder_from",
    "find_export",
    "load_encoder",
    "verify_export",
]

_ENCODER = "encoder."


@dataclass(frozen=True)
class Preprocess:
    """Makes a scan what an encoder was trained on: orientation, spacing, intensity.

    Attributes:
        contract: The input contract of the weights.
    """

    contract: InputContract

    @property
    def recipe(self) -> Recipe:
        """The steps and their numbers."""
        return Recipe.from_dict(self.contract.recipe)

    def __call__(self, scan: Path | str | Volume) -> Tensor:
        """Return the network's input for a scan.

        Args:
            scan: A file, a folder with one DICOM series, or a volume.

        Returns:
            ``(1, 1, X, Y, Z)`` in RAS+; for a planar encoder ``(slices, 1, X, Y)``. Where the scan
            is smaller than the crops of the training it is padded with its own minimum.

        Raises:
            VolumeReadError: If the file can't be read.
        """
        volume = scan if isinstance(scan, Volume) else read_volume(Path(scan))
        prepared = self.recipe.apply(volume, modality=self.contract.modality)
        patch = self.contract.patch
        least = (*patch, 1)[: prepared.data.ndim]
        data, _ = pad_to(prepared.data, least, float(prepared.data.min()))
        tensor = torch.from_numpy(np.ascontiguousarray(data, dtype=np.float32))
        if len(patch) == 2 and tensor.ndim == 3:
            return tensor.permute(2, 0, 1).unsqueeze(1)
        return tensor[None, None]


def encoder_from(folder: Path, manifest: Manifest) -> Encoder:
    """Build the encoder of an export and fill it, also when it is part of a fine-tuned network.

    Raises:
        WeightsMismatchError: If a tensor is missing, left over or of another shape.
    """
    encoder = build_encoder(manifest.encoder.name, **manifest.encoder.config)
    tensors = read_tensors(folder, manifest.file)
    if manifest.task is not None:
        tensors = {
            n.removeprefix(_ENCODER): t for n, t in tensors.items() if n.startswith(_ENCODER)
        }
    load_state(encoder, tensors)
    return encoder.eval().requires_grad_(False)


def load_encoder(source: Path | str) -> tuple[Encoder, Preprocess]:
    """Load an encoder with the function that prepares its input.

    Args:
        source: An export folder; a run folder that holds one; an id of the zoo, which is fetched if
            it is not here yet; or a file that others published, which is converted once and kept.

    Returns:
        The encoder, frozen and in evaluation mode, and its preprocessing.

    Raises:
        InputError: If there are no such weights, they can't be fetched, or the manifest is not
            valid.
        WeightsMismatchError: If the weights are damaged, refused, or do not fit.

    Example:
        >>> encoder, preprocess = load_encoder("runs/voco/export")  # doctest: +SKIP
        >>> features = encoder(preprocess("scan.nii.gz"))  # doctest: +SKIP
    """
    folder = find_export(source)
    manifest = read_manifest(folder / "manifest.json")
    return encoder_from(folder, manifest), Preprocess(manifest.input)


def verify_export(source: Path | str) -> Sequence[str]:
    """Check an export end to end: schema, hash, strict loading, golden features.

    Returns:
        What was checked, one sentence each.

    Raises:
        InputError: If the manifest is not valid.
        WeightsMismatchError: If weights or features are not those of the manifest.
    """
    folder = find_export(source)
    manifest = read_manifest(folder / "manifest.json")
    encoder = encoder_from(folder, manifest)
    features = golden_features(encoder, Preprocess(manifest.input))
    difference = max(abs(a - b) for a, b in zip(features, manifest.golden.features, strict=True))
    if difference > manifest.golden.tolerance:
        raise WeightsMismatchError(
            f"the features of the synthetic input differ from the manifest's by {difference:.2g}, "
            f"allowed is {manifest.golden.tolerance:.2g}; the preprocessing or the network changed"
        )
    return [
        "manifest follows the schema",
        f"{manifest.file.tensors} tensors, hash as recorded",
        f"golden features within {difference:.1g}",
    ]
