"""What a user may mean by weights: an export, a run, an id of the zoo, or a file of others.

All four end as an export folder, so that whoever loads weights knows only exports. A file of others
is converted once and kept in the cache, under its own hash.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import filelock

from medssl.errors import InputError, WeightsMismatchError
from medssl.io.atomic import write_text
from medssl.io.cache import cache_folder
from medssl.registry import nearest
from medssl.weights.card import model_card
from medssl.weights.entry import ZooEntry
from medssl.weights.fetch import fetch, is_fetched
from medssl.weights.manifest import LicenceRecord, Manifest, OriginRecord, read_manifest
from medssl.weights.state import sha256_of
from medssl.weights.zoo import zoo_entries, zoo_folder

if TYPE_CHECKING:
    from medssl.weights.convert.engine import Conversion

__all__ = ["find_export"]

_log = logging.getLogger(__name__)

_LAYOUT = 1
"""Raised when the same file must be converted anew."""


def find_export(source: Path | str) -> Path:
    """Return the export folder that a user's word for weights means.

    Args:
        source: An export folder; a run folder that holds one; an id of the zoo, which is fetched if
            it is not here yet; or a file that others published, which is converted once and kept.

    Raises:
        InputError: If there is none, or it can't be fetched; the message says how it can.
        WeightsMismatchError: If a file is refused, or does not verify.
    """
    path = Path(source)
    for candidate in (path, path / "export"):
        if (candidate / "manifest.json").is_file():
            return candidate
    if path.is_file():
        return _converted(path, None)
    if path.is_dir():
        raise InputError(
            f'"{path.name}" is neither an export folder nor a run with one (no manifest.json); '
            "give the folder that `medssl pretrain` or `medssl finetune` called export"
        )
    entry = zoo_entries().get(str(source))
    if entry is None:
        raise InputError(
            f'weights "{source}" do not exist; give an export folder, a run folder of medssl, a '
            f"weights file, or an id that `medssl weights list` shows{_close(str(source))}"
        )
    return _of_zoo(entry)


def _close(name: str) -> str:
    hint = nearest(name, zoo_entries()).partition(" Known:")[0]
    return f"; {hint}" if hint.startswith("did you mean") else ""


def _of_zoo(entry: ZooEntry) -> Path:
    if entry.bundled is not None:
        return zoo_folder() / entry.bundled
    if entry.converter is None:
        raise WeightsMismatchError(
            f'medssl can fetch "{entry.id}" but has no converter for it yet; '
            f"`medssl weights list --loadable` shows what it can load"
        )
    if not is_fetched(entry):
        _log.warning("%s is not here yet; it is fetched and converted now", entry.id)
    return _converted(fetch(entry), entry)


def _converted(file: Path, entry: ZooEntry | None) -> Path:
    """Return the export that a file of others became, made now if it is not in the cache."""
    digest = sha256_of(file)
    home = cache_folder() / "weights" / "converted"
    folder = home / f"{digest[:32]}-{_LAYOUT}{'-zoo' if entry else ''}"
    if (folder / "manifest.json").is_file():
        return folder
    home.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(home / f".{digest[:32]}.lock"):
        if not (folder / "manifest.json").is_file():
            _convert(file, entry, folder)
    return folder


def _convert(file: Path, entry: ZooEntry | None, folder: Path) -> None:
    from medssl.weights.convert.engine import convert
    from medssl.weights.convert.handover import write_converted
    from medssl.weights.foreign import read_foreign

    order: Literal["monai", "published"] | None = None if entry is None else entry.merge_order
    # our preprocessing makes one channel; a stem for copies of one image is summed, which is exact
    try:
        converted = convert(read_foreign(file), in_channels=1, merge_order=order)
    except WeightsMismatchError as error:
        if "--" not in str(error):
            raise
        raise WeightsMismatchError(
            f"{error} (options of `medssl weights convert {file.name} --out DIR`, whose result is "
            "weights like any other)"
        ) from error
    if entry is not None:
        converted = _as_published(converted, entry)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        write_converted(converted, file, temporary)
        if entry is not None:
            _describe(temporary, entry)
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _as_published(converted: Conversion, entry: ZooEntry) -> Conversion:
    """Return a conversion whose input is that of the zoo, where the file was taken for another's.

    Some published files have no trait that tells them from a run of their users.
    """
    from medssl.weights.convert.proposal import Contract

    given = entry.input
    if converted.report.family == entry.converter or given.window is None or given.patch is None:
        return converted
    contract = Contract(
        converted.contract.modality,
        given.spacing_mm,
        (given.window[0], given.window[1]),
        given.scaled_to[0] if given.scaled_to else -1.0,
        given.patch,
    )
    return replace(converted, contract=contract)


def _describe(folder: Path, entry: ZooEntry) -> None:
    """Write into the manifest of a converted file what the zoo knows of it."""
    manifest = read_manifest(folder / "manifest.json")
    commercial: dict[bool | None, Literal["yes", "no", "unknown"]]
    commercial = {True: "yes", False: "no", None: "unknown"}
    described: Manifest = replace(
        manifest,
        id=entry.id,
        title=entry.title,
        limits=" ".join(entry.traps),
        training=replace(manifest.training, data=entry.data),
        origin=_origin(manifest.origin, entry),
        licence=LicenceRecord(
            weights=entry.licence.weights or "not known",
            commercial_use=commercial[entry.licence.commercial_use],
            data_terms=entry.licence.note or "not stated",
        ),
    )
    write_text(folder / "manifest.json", described.to_text())
    write_text(folder / "README.md", model_card(described))


def _origin(origin: OriginRecord, entry: ZooEntry) -> OriginRecord:
    return replace(
        origin, paper=entry.paper, repository=entry.repository, url=(*entry.file.urls, "")[0]
    )
