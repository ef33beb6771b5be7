"""The card of a published checkpoint: its entry in the zoo, told to a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medssl.weights.entry import ZooEntry
from medssl.weights.zoo import zoo_entries, zoo_folder

__all__ = ["write_cards", "zoo_card"]

_ALLOWED = {True: "allowed", False: "not allowed", None: "not known"}


def zoo_card(entry: ZooEntry) -> str:
    """Return the text of ``model_zoo/cards/<id>.md``, made from the entry alone."""
    return f"""# {entry.title}

`{entry.id}`: {_reach(entry)}

```python
{_usage(entry)}
```

## What it is

| | |
|---|---|
| encoder | {entry.encoder}, {entry.spatial_dims}D |
| trained by | {entry.method} |
| on | {entry.data} |
| modalities | {", ".join(entry.modalities)} |
| body region | {_or_unknown(entry.region)} |
| paper | {entry.paper} |
| code | {entry.repository or "-"} |

## Licence

Weights: {_or_unknown(entry.licence.weights)}. Commercial use: \
{_ALLOWED[entry.licence.commercial_use]}. {entry.licence.note}

## File

| | |
|---|---|
| name | {entry.file.name} |
| bytes | {_or_unknown(entry.file.bytes)} |
| SHA-256 | {_or_unknown(entry.file.sha256)} |
| addresses | {_addresses(entry)} |
| page | {entry.file.page or "-"} |

## Input

{_input(entry)}

## Known traps

{_points(entry.traps)}

## Not confirmed

{_points(entry.unconfirmed)}
"""


def write_cards() -> None:
    """Write the card of every entry beside its manifest."""
    for entry in zoo_entries().values():
        path = zoo_folder() / "cards" / f"{entry.id}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(zoo_card(entry), encoding="utf-8")


def _reach(entry: ZooEntry) -> str:
    if entry.is_loadable:
        return "medssl loads it by this id, by its file, and wherever `--weights` is asked for."
    return "medssl can fetch it and has no converter for it yet."


def _addresses(entry: ZooEntry) -> str:
    if entry.bundled is not None:
        return "comes with medssl"
    return "<br>".join(entry.file.urls) or "none that answers with the file itself"


def _usage(entry: ZooEntry) -> str:
    if not entry.is_loadable:
        return f"# medssl weights fetch {entry.id}"
    return (
        "import medssl\n\n"
        f'encoder, preprocess = medssl.load_encoder("{entry.id}")\n'
        'features = encoder(preprocess("scan.nii.gz"))  # list of maps, finest first'
    )


def _input(entry: ZooEntry) -> str:
    given = entry.input
    rows: list[tuple[str, Any]] = [
        ("orientation", given.orientation),
        ("spacing, mm", _times(given.spacing_mm)),
        ("intensity", given.intensity),
        ("crop, voxels", _times(given.patch)),
    ]
    if entry.merge_order is not None:
        rows.append(("order of patch merges", entry.merge_order))
    return "\n".join(["| | |", "|---|---|", *(f"| {k} | {_or_unknown(v)} |" for k, v in rows)])


def _times(numbers: Sequence[float] | None) -> str | None:
    return None if numbers is None else " x ".join(f"{number:g}" for number in numbers)


def _or_unknown(value: Any) -> str:
    return "not known" if value is None else str(value)


def _points(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences) or "None."
