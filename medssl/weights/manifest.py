"""The record that travels with every weights file, so that the file explains itself.

It says what the network is, what its input must look like, how it was trained, where it comes from
and what may be done with it. ``model_zoo/schema.json`` is generated from these classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from medssl.errors import InputError
from medssl.types import Modality
from medssl.weights.records import from_json, json_schema, to_json

__all__ = [
    "EncoderRecord",
    "FileRecord",
    "GoldenRecord",
    "InputContract",
    "LicenceRecord",
    "Manifest",
    "OriginRecord",
    "TaskRecord",
    "TrainingRecord",
    "read_manifest",
    "schema",
]


@dataclass(frozen=True)
class FileRecord:
    """The weights file: name, hash and size, checked before it is opened.

    Attributes:
        name: File name beside the manifest.
        sha256: Hash of the file.
        bytes: Size of the file.
        tensors: Number of tensors in it.
        urls: Where a published file can be fetched.
    """

    name: str
    sha256: str
    bytes: int
    tensors: int
    urls: tuple[str, ...] = ()


@dataclass(frozen=True)
class EncoderRecord:
    """What rebuilds the network: a name of ``medssl info --encoders`` and its options."""

    name: str
    config: Mapping[str, Any]
    channels: tuple[int, ...]


@dataclass(frozen=True)
class InputContract:
    """What an input must look like; ``load_encoder`` returns the function that makes it so.

    Attributes:
        modality: What the network was trained on.
        recipe: Orientation, spacing in mm and intensity steps with their numbers.
        recipe_hash: Hash of the recipe.
        patch: Edges of the crops it was trained on, in voxels.
        padding: Value beyond the border of a volume: its own lowest, after the intensity step.
    """

    modality: Modality
    recipe: Mapping[str, Any]
    recipe_hash: str
    patch: tuple[int, ...]
    padding: Literal["volume_minimum"] = "volume_minimum"


@dataclass(frozen=True)
class TrainingRecord:
    """How the weights came about; counts only, never names of cases."""

    method: str
    steps: int
    seed: int
    volumes: int
    patients: int
    config_sha256: str
    data: str = "private data"
    initial_weights: str = "none"


@dataclass(frozen=True)
class TaskRecord:
    """What a fine-tuned network answers: label names with their values, or classes in order."""

    name: Literal["segmentation", "classification", "regression"]
    labels: Mapping[str, int] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OriginRecord:
    """Where a converted checkpoint comes from; empty for weights that medssl trained."""

    paper: str = ""
    repository: str = ""
    url: str = ""
    sha256: str = ""
    converter: str = ""
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class LicenceRecord:
    """What may be done with the weights; the owner of a run fills it in before publishing."""

    weights: str = "not stated"
    code: str = "Apache-2.0"
    data_terms: str = "not stated"
    commercial_use: Literal["yes", "no", "unknown"] = "unknown"
    attribution: str = ""


@dataclass(frozen=True)
class GoldenRecord:
    """Features of a synthetic volume through preprocessing and network, to be met again.

    Attributes:
        input: Name of the synthetic volume.
        features: First values of the embedding.
        tolerance: Largest absolute difference that other hardware may show.
    """

    input: str
    features: tuple[float, ...]
    tolerance: float = 1e-3


@dataclass(frozen=True)
class Manifest:
    """Everything that must be known to use a weights file."""

    id: str
    title: str
    created: str
    medssl_version: str
    file: FileRecord
    encoder: EncoderRecord
    input: InputContract
    training: TrainingRecord
    golden: GoldenRecord
    task: TaskRecord | None = None
    origin: OriginRecord = field(default_factory=OriginRecord)
    licence: LicenceRecord = field(default_factory=LicenceRecord)
    intended_use: str = "Research. Not a medical device."
    limits: str = ""
    evidence: tuple[str, ...] = ()
    version: str = "1"

    def to_text(self) -> str:
        """Return the manifest as JSON text."""
        return json.dumps(to_json(self), indent=2, ensure_ascii=False) + "\n"


def read_manifest(path: Path) -> Manifest:
    """Read and check a ``manifest.json``.

    Raises:
        InputError: If it is missing, not JSON, or has unknown, missing or wrong fields.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f'"{path.parent.name}" holds no manifest.json; expected an export folder of medssl'
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f'manifest.json in "{path.parent.name}" is not JSON: {error}') from error
    return from_json(Manifest, data)


def schema() -> dict[str, Any]:
    """Return the JSON schema of a manifest, as in ``model_zoo/schema.json``."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "medssl manifest",
        **json_schema(Manifest),
    }
