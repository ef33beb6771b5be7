"""``hub``: the layout of the Hugging Face Hub, and putting it there.

The folder is an export that ``load_encoder`` and ``load_model`` read, with what the Hub looks for
besides: ``config.json``, ``model.safetensors`` and a card that begins with YAML.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from medssl.errors import InputError, UsageError
from medssl.weights.card import model_card
from medssl.weights.formats.source import Source
from medssl.weights.load import verify_export
from medssl.weights.manifest import Manifest, read_manifest
from medssl.weights.records import to_json

__all__ = ["TENSORS", "push", "write"]

TENSORS = "model.safetensors"
_PIPELINES = {
    None: "image-feature-extraction",
    "segmentation": "image-segmentation",
    "classification": "image-classification",
}
_LICENCES = re.compile(
    r"^(apache-2\.0|mit|bsd-3-clause|cc0-1\.0|cc-by(-nc)?(-sa|-nd)?-4\.0)$", re.IGNORECASE
)
"""Licences that the Hub knows by the name that they have in a manifest."""


def write(source: Source, folder: Path) -> Sequence[str]:
    """Write the folder and check it as any export.

    Raises:
        WeightsMismatchError: If the copy does not give the features of the manifest.
    """
    manifest = dataclasses.replace(
        source.manifest, file=dataclasses.replace(source.manifest.file, name=TENSORS)
    )
    shutil.copyfile(source.folder / source.manifest.file.name, folder / TENSORS)
    (folder / "manifest.json").write_text(manifest.to_text(), encoding="utf-8")
    text = json.dumps(_config(manifest), indent=2, ensure_ascii=False)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")
    front = yaml.safe_dump(_front_matter(source), sort_keys=False, allow_unicode=True)
    card = f"---\n{front}---\n\n{model_card(manifest)}"
    (folder / "README.md").write_text(card, encoding="utf-8")
    return verify_export(folder)


def _config(manifest: Manifest) -> dict[str, Any]:
    return {
        "model_type": "medssl",
        "architectures": [manifest.encoder.name],
        "task": None if manifest.task is None else manifest.task.name,
        "medssl_version": manifest.medssl_version,
        "encoder": to_json(manifest.encoder),
        "input": to_json(manifest.input),
    }


def _front_matter(source: Source) -> dict[str, Any]:
    manifest = source.manifest
    licence = manifest.licence.weights
    known = _LICENCES.match(licence)
    named = {"license": licence.lower()} if known else {"license": "other"}
    if not known:
        named["license_name"] = re.sub(r"[^a-z0-9.]+", "-", licence.lower()).strip("-")
    tags = ["medssl", "medical-imaging", "self-supervised-learning", manifest.input.modality]
    return {
        **named,
        "library_name": "medssl",
        "pipeline_tag": _PIPELINES.get(source.task, _PIPELINES[None]),
        "tags": [*tags, f"{source.encoder.spatial_dims}d", manifest.encoder.name],
    }


def push(folder: Path, repository: str) -> str:
    """Upload a folder that :func:`write` made, and return its address.

    Args:
        folder: Checked first, as any export.
        repository: ``owner/name``; made private if it is not there.

    Raises:
        UsageError: If the extra ``hub`` is not installed, or the name is none of a repository.
        InputError: If the folder is not in the layout of the Hub, its licence is not stated, or the
            Hub refuses.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise UsageError(f'"{repository}" names no repository; expected owner/name')
    if not (folder / "config.json").is_file() or not (folder / TENSORS).is_file():
        raise InputError(
            f'"{folder.name}" is not in the layout of the Hub; make it with medssl export --to hub'
        )
    verify_export(folder)
    if read_manifest(folder / "manifest.json").licence.weights == "not stated":
        raise InputError(
            'the licence of the weights is "not stated"; write it into licence.weights of the '
            "export's manifest.json and export --to hub again, before others get the file"
        )
    if importlib.util.find_spec("huggingface_hub") is None:
        raise UsageError('weights push needs huggingface_hub: pip install "medssl[hub]"')
    return _upload(folder, repository)


def _upload(folder: Path, repository: str) -> str:
    hub: Any = importlib.import_module("huggingface_hub")
    names = ["README.md", "config.json", "manifest.json", TENSORS]
    try:
        address = hub.create_repo(repository, private=True, exist_ok=True)
        hub.upload_folder(repo_id=repository, folder_path=str(folder), allow_patterns=names)
    except (OSError, ValueError) as error:
        # what the library raises for a missing token or name refines these two
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"the Hub refused {repository}: {first[:160]}; log in with hf auth login, and see that "
            "the name is yours"
        ) from error
    return str(address)
