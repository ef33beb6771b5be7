"""What lies beside every hand-over: ``README.md`` for people and ``handover.json`` for programs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medssl.errors import InputError
from medssl.weights.card import model_card
from medssl.weights.formats.source import Agreement, Source
from medssl.weights.records import to_json

__all__ = ["RECORD", "card", "contract_lines", "read_record", "write_record"]

RECORD = "handover.json"


def write_record(
    folder: Path,
    source: Source,
    form: str,
    *,
    use: str,
    differences: Sequence[str],
    agreement: Agreement | None = None,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write the record and the card of a hand-over.

    Args:
        folder: Where the files lie.
        source: What was handed over.
        form: Name of the format.
        use: Markdown: how it is used.
        differences: What the other tool does differently, one sentence each.
        agreement: How far the result lies from the network.
        facts: What else a program may want to know, primitives.
    """
    record = {
        "format": form,
        "agreement": None if agreement is None else dataclasses.asdict(agreement),
        "differences": list(differences),
        **(facts or {}),
        "manifest": to_json(source.manifest),
    }
    (folder / RECORD).write_text(
        json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    (folder / "README.md").write_text(card(source, use, differences, agreement), encoding="utf-8")


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record of a hand-over.

    Raises:
        InputError: If it is no JSON object with a format.
    """
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if isinstance(record, dict) and isinstance(record.get("format"), str):
            return record
    except ValueError:
        pass
    raise InputError(f'{RECORD} in "{folder.name}" is damaged; hand the weights over again')


def card(
    source: Source, use: str, differences: Sequence[str], agreement: Agreement | None = None
) -> str:
    """Return the model card with another way of use.

    Args:
        source: What was handed over.
        use: Markdown: how it is used.
        differences: What the other tool does differently, one sentence each.
        agreement: How far the result lies from the network.
    """
    head, _, rest = model_card(source.manifest).partition("## Use")
    _, _, rest = rest.partition("## Input")
    parts = [head.strip(), "## Use", use.strip(), "## What differs", *_bullets(differences)]
    if agreement is not None:
        parts.append(
            f"Compared with the network it came from on {agreement.images} images: largest "
            f"absolute error {agreement.largest_absolute_error:.2e}, largest relative error "
            f"{agreement.largest_relative_error:.2e}."
        )
    return "\n\n".join([*parts, "## Input" + rest.rstrip()]) + "\n"


def _bullets(sentences: Sequence[str]) -> list[str]:
    return ["\n".join(f"- {sentence}" for sentence in sentences)] if sentences else ["Nothing."]


def contract_lines(source: Source) -> str:
    """Return in one paragraph what an input must look like."""
    contract = source.manifest.input
    spacing = contract.recipe.get("spacing_mm")
    size = " x ".join(map(str, contract.patch))
    grid = "their own voxel size" if spacing is None else f"{tuple(spacing)} mm voxels"
    return (
        f"Images are `(B, {source.encoder.in_channels}, {', '.join('XYZ'[: len(contract.patch)])})`"
        f" in RAS+ order with {grid}, windows of {size} voxels, intensities as the table says."
    )
