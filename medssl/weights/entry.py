"""What the zoo knows about a checkpoint that others published.

An entry is data: one JSON file a checkpoint, and no line of code. Whatever its authors do not say
is null and named under ``unconfirmed``, with what is missing; nothing in an entry is a guess.
``model_zoo/entry.schema.json`` is generated from these classes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from medssl.errors import InputError
from medssl.weights.records import from_json, json_schema

__all__ = [
    "PublishedFile",
    "PublishedInput",
    "PublishedLicence",
    "ZooEntry",
    "entry_schema",
    "read_entry",
]

Seen = Literal["ct", "mr", "pt", "us", "xr", "photograph"]
"""Kinds of images that networks were trained on; the last are those of ImageNet and the like."""


@dataclass(frozen=True)
class PublishedFile:
    """A file as its authors hand it out.

    Attributes:
        name: Its name there.
        urls: Addresses that answer with the file itself, tried in this order.
        page: Where a person finds it, and agrees to its terms where that is asked for.
        bytes: Its size.
        sha256: Its hash as its publisher tells it.
    """

    name: str
    urls: tuple[str, ...]
    page: str
    bytes: int | None
    sha256: str | None


@dataclass(frozen=True)
class PublishedLicence:
    """Under which terms the weights may be used.

    Attributes:
        weights: Name of the licence.
        commercial_use: Whether it allows commercial use.
        note: What a user must know besides.
    """

    weights: str | None
    commercial_use: bool | None
    note: str = ""


@dataclass(frozen=True)
class PublishedInput:
    """What the network saw in training.

    Attributes:
        orientation: Directions in which the axes of a crop grow, such as ``RAS``.
        spacing_mm: Size of a voxel.
        intensity: What was done to the values, in words.
        window: Bounds of a CT window in Hounsfield units.
        scaled_to: What the bounds became.
        patch: Edges of a crop, in voxels.
    """

    orientation: str | None
    spacing_mm: tuple[float, ...] | None
    intensity: str | None
    window: tuple[int, ...] | None
    scaled_to: tuple[float, ...] | None
    patch: tuple[int, ...] | None


@dataclass(frozen=True)
class ZooEntry:
    """One published checkpoint.

    Attributes:
        id: ``family/name``, which is also where its manifest and its card lie.
        title: One line for people.
        converter: Family of ``medssl.weights.convert`` that reads it; none reads it yet if null.
        encoder: A name of ``medssl info --encoders``, or what comes closest.
        spatial_dims: 2 or 3.
        file: What is fetched.
        licence: Under which terms.
        modalities: What kinds of images it was trained on.
        region: Which part of the body.
        input: What an input must look like.
        merge_order: For Swin transformers, in which order patch merges read their voxels.
        method: How it was trained.
        data: On what.
        paper: Where that is written.
        repository: Its authors' code.
        traps: What goes wrong with it, one sentence each.
        unconfirmed: What could not be confirmed: the field, then why.
        bundled: Folder of an export that comes with medssl, so that nothing is fetched.
    """

    id: str
    title: str
    converter: str | None
    encoder: str
    spatial_dims: int
    file: PublishedFile
    licence: PublishedLicence
    modalities: tuple[Seen, ...]
    region: str | None
    input: PublishedInput
    merge_order: Literal["monai", "published"] | None
    method: str
    data: str
    paper: str
    repository: str
    traps: tuple[str, ...] = ()
    unconfirmed: tuple[str, ...] = ()
    bundled: str | None = None

    @property
    def is_loadable(self) -> bool:
        """Whether ``load_encoder`` takes its id."""
        return self.converter is not None or self.bundled is not None


def read_entry(path: Path) -> ZooEntry:
    """Read and check one entry.

    Raises:
        InputError: If it is not JSON, or has unknown, missing or wrong fields.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f'the zoo entry "{path.name}" is not JSON: {error}') from error
    return from_json(ZooEntry, data, where=f"zoo entry {path.stem}")


def entry_schema() -> dict[str, Any]:
    """Return the JSON schema of an entry, as in ``model_zoo/entry.schema.json``."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "medssl zoo entry",
        **json_schema(ZooEntry),
    }
