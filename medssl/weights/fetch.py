"""From an entry of the zoo to its file on this machine, verified before anybody opens it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import filelock

from medssl.errors import InputError, OutputError, WeightsMismatchError
from medssl.io.atomic import atomic_path, write_json
from medssl.io.cache import cache_folder
from medssl.weights.download import DownloadError, download
from medssl.weights.entry import PublishedFile, ZooEntry
from medssl.weights.state import sha256_of

__all__ = ["Watch", "fetch", "fetched_path", "is_fetched"]

Watch = Callable[[Iterable[int], int | None], Iterable[int]]
"""Is handed the mebibytes as they come, and how many there will be, and yields them on."""

_UNIT = 2**20


def fetched_path(entry: ZooEntry) -> Path:
    """Return where the file of an entry lies once it was fetched."""
    return cache_folder() / "weights" / "files" / entry.id / entry.file.name


def is_fetched(entry: ZooEntry) -> bool:
    """Say whether the file of an entry is on this machine; it was verified when it came."""
    return entry.bundled is not None or fetched_path(entry).is_file()


def fetch(
    entry: ZooEntry,
    *,
    source: Path | None = None,
    accept_unverified: bool = False,
    watch: Watch | None = None,
) -> Path:
    """Return the verified file of an entry, fetched if it is not here yet.

    It is looked for in this order: where it was fetched before; ``source``; the folder or address
    in ``MEDSSL_MIRROR``; the cache of huggingface_hub (``HF_HUB_CACHE``, ``HF_HOME``); the
    addresses of its publisher, unless ``HF_HUB_OFFLINE`` is set. Nothing that does not verify gets
    its name.

    Args:
        entry: What to fetch.
        source: A file, or a folder of files that mirrors the zoo.
        accept_unverified: Take a file whose publisher told no hash. Its own is noted on that first
            use, and from then on it must be the same.
        watch: Is shown how far it is.

    Raises:
        WeightsMismatchError: If size or hash are not those of the entry.
        InputError: If it can't be had; the message says how it can.
        OutputError: If the cache can't be written.
    """
    target = fetched_path(entry)
    wanted = _noted(target) or entry.file.sha256
    if wanted is None and not accept_unverified:
        raise WeightsMismatchError(
            f'"{entry.id}" has no published hash, so what arrives can\'t be verified; run `medssl '
            f"weights fetch {entry.id} --accept-unverified` once if you trust its publisher: its "
            "hash is then noted and checked from there on"
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f'can\'t make the folder of "{entry.id}" in the cache: {error.strerror}; set '
            "MEDSSL_HOME to a folder that can be written"
        ) from error
    with filelock.FileLock(target.parent / ".lock"):
        if target.is_file():
            _verify(target, entry, wanted)
        else:
            _bring(entry, target, source, wanted, watch or (lambda pieces, _: pieces))
    return target


def _bring(
    entry: ZooEntry, target: Path, source: Path | None, wanted: str | None, watch: Watch
) -> None:
    local = _local_copy(entry, source)
    if local is not None:
        with atomic_path(target) as temporary:
            shutil.copyfile(local, temporary)
            _verify(temporary, entry, wanted, shown=local.name)
            _note(target, entry.file, temporary)
        return
    part = target.with_name(f".{target.name}.part")
    _download_any(entry, part, watch)
    try:
        _verify(part, entry, wanted)
    except WeightsMismatchError:
        part.unlink()
        raise
    _note(target, entry.file, part)
    part.replace(target)


def _local_copy(entry: ZooEntry, source: Path | None) -> Path | None:
    """Return a file on this machine that should be the one, if there is one."""
    if source is not None:
        found = _within(Path(source), entry)
        if found is None:
            raise InputError(
                f'"{source}" is neither a file nor a folder with {entry.file.name} or '
                f"{entry.id}/{entry.file.name} in it"
            )
        return found
    mirror = os.environ.get("MEDSSL_MIRROR", "")
    if mirror and "://" not in mirror:
        found = _within(Path(mirror).expanduser(), entry)
        if found is not None:
            return found
    return _in_hub_cache(entry.file)


def _within(place: Path, entry: ZooEntry) -> Path | None:
    candidates = (place, place / entry.id / entry.file.name, place / entry.file.name)
    return next((path for path in candidates if path.is_file()), None)


def _in_hub_cache(file: PublishedFile) -> Path | None:
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface"))
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub")).expanduser()
    for url in (*file.urls, file.page):
        owner, _, rest = urlsplit(url).path.strip("/").partition("/")
        if urlsplit(url).hostname != "huggingface.co" or not rest:
            continue
        snapshots = cache / f"models--{owner}--{rest.split('/')[0]}" / "snapshots"
        name = Path(rest).name if "/resolve/" in url else file.name
        for found in sorted(snapshots.glob(f"*/{name}")):
            if file.sha256 is None or sha256_of(found) == file.sha256:
                return found
    return None


def _download_any(entry: ZooEntry, part: Path, watch: Watch) -> None:
    """Try every address in turn; the last reason is the one that is told."""
    reasons = []
    for url in _addresses(entry):
        try:
            _download(url, part, entry, watch)
        except DownloadError as error:
            reasons.append(str(error))
        else:
            return
    raise InputError(
        f'can\'t fetch "{entry.id}": {"; ".join(reasons) or "no address gives the file itself"}. '
        f"Get {entry.file.name} from {entry.file.page} on another machine or in a browser, then "
        f"run `medssl weights fetch {entry.id} --from FILE`, or set MEDSSL_MIRROR to a folder that "
        "holds it"
    )


def _addresses(entry: ZooEntry) -> list[str]:
    mirror = os.environ.get("MEDSSL_MIRROR", "")
    own = [f"{mirror.rstrip('/')}/{entry.id}/{entry.file.name}"] if "://" in mirror else []
    is_offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
    return own if is_offline else [*own, *entry.file.urls]


def _download(url: str, part: Path, entry: ZooEntry, watch: Watch) -> None:
    size = entry.file.bytes
    if size is not None:
        free = shutil.disk_usage(part.parent).free
        if free < size:
            raise OutputError(
                f'"{entry.id}" takes {size / 1e9:.1f} GB and {free / 1e9:.1f} GB are free in the '
                "cache; free some space, or set MEDSSL_HOME to another folder"
            )
    for _ in watch(_whole_units(download(url, part, size=size)), size and -(-size // _UNIT)):
        pass


def _whole_units(lengths: Iterator[int]) -> Iterator[int]:
    """Yield once for each further mebibyte."""
    shown = 0
    for length in lengths:
        while shown < -(-length // _UNIT):
            shown += 1
            yield shown


def _verify(path: Path, entry: ZooEntry, wanted: str | None, *, shown: str = "") -> None:
    """Refuse a file that is not the one.

    Raises:
        WeightsMismatchError: If its size or hash differ.
    """
    size, actual = path.stat().st_size, None
    if entry.file.bytes in (None, size):
        actual = sha256_of(path)
        if wanted in (None, actual):
            return
    what = f"hash {wanted[:12]}…" if actual and wanted else f"{entry.file.bytes} bytes"
    found = f"{actual[:12]}…" if actual else str(size)
    raise WeightsMismatchError(
        f'{shown or entry.file.name} is not the file of "{entry.id}": expected {what}, found '
        f"{found}. It was not opened; delete it, or give the file that its publisher hands out"
    )


def _noted(target: Path) -> str | None:
    """Return the hash that a file had when it was first accepted without a published one."""
    note = target.with_name(f"{target.name}.first-use.json")
    try:
        return str(json.loads(note.read_text(encoding="utf-8"))["sha256"])
    except (OSError, ValueError, KeyError):
        return None


def _note(target: Path, file: PublishedFile, arrived: Path) -> None:
    if file.sha256 is None:
        note = target.with_name(f"{target.name}.first-use.json")
        write_json(note, {"sha256": sha256_of(arrived), "bytes": arrived.stat().st_size})
