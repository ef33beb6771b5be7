"""``medssl weights list | show | fetch | verify``: what others published, by name."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssl.commands.progress import follow, plain_console
from medssl.errors import InputError

if TYPE_CHECKING:
    from medssl.weights.entry import ZooEntry

__all__ = ["fetch", "list_zoo", "show", "verify"]

_COMMERCIAL = {True: "yes", False: "no", None: "unknown"}
_KILO = 1000


def list_zoo(
    *,
    modality: str | None = None,
    commercial_use: bool = False,
    encoder: str | None = None,
    spatial_dims: int | None = None,
    loadable: bool = False,
    json: bool = False,
) -> list[str]:
    """List the published checkpoints that medssl knows by name.

    Args:
        modality: Only those trained on ct, mr, pt, us, xr or photograph.
        commercial_use: Only those whose licence is known to allow commercial use.
        encoder: Only those whose encoder's name begins so, such as swin or resnet50.
        spatial_dims: Only those for volumes (3), or for images (2).
        loadable: Only those that medssl loads; the others it can fetch.
        json: Print all that is known, as JSON.

    Returns:
        Their ids.

    Raises:
        UnknownNameError: If no checkpoint could be of that modality.

    Example:
        medssl weights list --modality ct --commercial-use
    """
    from medssl.weights.zoo import list_weights, zoo_entries

    names = list_weights(
        modality=modality,
        commercial_use=commercial_use or None,
        encoder=encoder,
        spatial_dims=spatial_dims,
        loadable=loadable or None,
    )
    entries = [zoo_entries()[name] for name in names]
    if json:
        _print_json([_told(entry) for entry in entries])
        return names
    rows = [_row(entry) for entry in entries]
    head = ("id", "modality", "encoder", "licence", "commercial", "size", "local")
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    console = plain_console()
    for row in (head, *rows):
        console.print("  ".join(w.ljust(n) for w, n in zip(row, widths, strict=True)).rstrip())
    console.print(f"{len(names)} checkpoints; medssl weights show ID tells more")
    return names


def _row(entry: ZooEntry) -> tuple[str, ...]:
    from medssl.weights.fetch import is_fetched

    return (
        entry.id,
        " ".join(entry.modalities),
        entry.encoder if entry.is_loadable else f"({entry.encoder})",
        entry.licence.weights or "unknown",
        _COMMERCIAL[entry.licence.commercial_use],
        _size(entry.file.bytes),
        "yes" if is_fetched(entry) else "",
    )


def _size(count: int | None) -> str:
    if count is None:
        return "unknown"
    number = float(count)
    for unit in ("B", "kB", "MB"):
        if number < _KILO:
            return f"{number:.0f} {unit}"
        number /= _KILO
    return f"{number:.1f} GB"


def _told(entry: ZooEntry) -> dict[str, Any]:
    from medssl.weights.fetch import is_fetched
    from medssl.weights.records import to_json

    return {**to_json(entry), "loadable": entry.is_loadable, "local": is_fetched(entry)}


def _print_json(value: Any) -> None:
    plain_console().print(json_text.dumps(value, indent=2, ensure_ascii=False))


def show(id: str, *, json: bool = False) -> str:  # noqa: A002 - what the user types
    """Show all that is known of a published checkpoint: licence, input, traps, what is unconfirmed.

    Args:
        id: As medssl weights list shows it.
        json: Print it as JSON.

    Returns:
        Its card.

    Raises:
        UnknownNameError: If there is none of that name.

    Example:
        medssl weights show voco/b-ssl
    """
    from medssl.weights.fetch import fetched_path
    from medssl.weights.zoo import find_entry
    from medssl.weights.zoo_card import zoo_card

    entry = find_entry(id)
    card = zoo_card(entry)
    if json:
        _print_json(_told(entry))
        return card
    console = plain_console()
    console.print(card.rstrip())
    if fetched_path(entry).is_file():
        console.print(f"\nOn this machine: {fetched_path(entry)}")
    return card


def fetch(
    id: str,  # noqa: A002 - what the user types
    *,
    from_path: Path | None = None,
    accept_unverified: bool = False,
) -> Path:
    """Fetch a published checkpoint into the cache, and verify size and hash before it gets a name.

    A broken download goes on where it was. Proxies are those of the environment. Without internet,
    give the file with --from, or set MEDSSL_MIRROR to a folder or an address that mirrors the zoo.

    Args:
        id: As medssl weights list shows it.
        from_path: A file that was brought here otherwise, or a folder of such files.
        accept_unverified: Take a file whose publisher tells no hash; its own is noted and checked
            from then on.

    Returns:
        The file in the cache.

    Raises:
        UnknownNameError: If there is no checkpoint of that name.
        WeightsMismatchError: If what arrived is not the published file.
        InputError: If it can't be reached.

    Example:
        medssl weights fetch voco/b-ssl
        medssl weights fetch 3dino/vit-large --from 3dino_vit_weights.pth --accept-unverified
    """
    from medssl.weights.fetch import fetch as bring
    from medssl.weights.zoo import find_entry

    entry = find_entry(id)
    console = plain_console()
    if entry.bundled is not None:
        console.print(f"{entry.id} comes with medssl: nothing to fetch")
        return _bundled(entry)
    file = bring(
        entry,
        source=from_path,
        accept_unverified=accept_unverified,
        watch=lambda pieces, total: follow(
            pieces, total=total, unit="MiB", doing=f"fetching {entry.id}"
        ),
    )
    verified = "size and hash as published" if entry.file.sha256 else "hash noted on first use"
    console.print(f"{entry.id}: {_size(file.stat().st_size)}, {verified}")
    console.print(f"Wrote {file}")
    if entry.is_loadable:
        console.print(
            f"Next: medssl embed --weights {entry.id} --input SCANS --out features.parquet"
        )
    return file


def _bundled(entry: ZooEntry) -> Path:
    from medssl.weights.locate import find_export

    return find_export(entry.id)


def verify(folder: Path) -> list[str]:
    """Check an export: schema, hash, strict loading, and the features of a synthetic volume.

    The features are computed anew through preprocessing and network; if either changed, they
    differ.

    Args:
        folder: An export folder, or a run that holds one.

    Returns:
        What was checked, one sentence each.

    Raises:
        InputError: If it is no export, or its manifest is not valid.
        WeightsMismatchError: If weights or features are not those of the manifest.

    Example:
        medssl weights verify runs/voco/export
    """
    from medssl.weights.load import verify_export

    if not Path(folder).is_dir():
        raise InputError(
            f'"{folder}" is no folder; give an export folder, or a run folder that holds one'
        )
    found = list(verify_export(folder))
    console = plain_console()
    for sentence in found:
        console.print(f"ok  {sentence}")
    console.print("The export is whole.")
    return found
