"""A store on a server: its files are copied when they are asked for, proved, and kept for a while.

Copies are named by their checksum. So they are shared by all processes and by stores that hold the
same volume, and a store that was written anew never meets copies of the old one.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import filelock

from medssl.errors import OutputError, StoreError
from medssl.io.atomic import atomic_path
from medssl.io.cache import cache_folder

__all__ = ["RemoteFolder"]

_ATTEMPTS = 3
_PAUSE_SECONDS = 0.2
"""Doubled before every further attempt."""

_CHECKSUM = re.compile("[0-9a-f]{64}")


class RemoteFolder:
    """A folder on a server, and copies of what was asked for.

    Args:
        url: Its address, in a form that fsspec knows.
        cache: Where copies are kept; none takes the user's cache folder.
        most_bytes: About how much is kept; what was used longest ago goes first.
        options: What the server wants to know, such as credentials.
    """

    def __init__(
        self, url: str, cache: Path | None, most_bytes: int, options: Mapping[str, Any]
    ) -> None:
        self.url = url.rstrip("/")
        self._cache = cache_folder() / "stores" if cache is None else Path(cache)
        self._most_bytes = most_bytes
        self._options = dict(options)

    def __getstate__(self) -> dict[str, Any]:
        """Leave connections behind: another process makes its own."""
        return {k: v for k, v in self.__dict__.items() if k != "_server"}

    def copy_of(self, *names: str) -> Path:
        """Copy small files anew, and return the folder that they are in.

        Raises:
            StoreError: If one is not there or does not arrive.
        """
        folder = self._cache / "tables" / hashlib.sha256(self.url.encode()).hexdigest()[:16]
        self._make(folder)
        for name in names:
            self._copy(name, folder / name, name, lambda _: True)
        return folder

    def bring(self, file: str, checksum: str, volume: str) -> Path:
        """Return a whole copy of a file.

        Args:
            file: Its path below the folder.
            checksum: Its SHA-256.
            volume: What to call it in messages.

        Raises:
            StoreError: If it is not there, or not as it should be however often it is asked for.
        """
        if not _CHECKSUM.fullmatch(checksum):
            # It becomes part of a path here, and the server could write anything there.
            raise StoreError(f'the table of {self.url} has no checksum of "{volume}"')
        path = self._kept(checksum)
        with suppress(FileNotFoundError):
            os.utime(path)  # used just now
            return path
        self._make(path.parent)
        # Processes that want the same file at once copy it once.
        with filelock.FileLock(self._cache / "locks" / f"{checksum[:2]}.lock"):
            if not path.is_file():
                self._copy(file, path, volume, lambda copy: _sha256(copy) == checksum)
                self._make_room(path)
        return path

    def forget(self, checksum: str) -> None:
        """Remove a copy that turned out to be damaged."""
        self._kept(checksum).unlink(missing_ok=True)

    def _kept(self, checksum: str) -> Path:
        return self._cache / "files" / checksum[:2] / f"{checksum}.b2nd"

    def _make(self, folder: Path) -> None:
        try:
            for each in (folder, self._cache / "locks"):
                each.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f'can\'t keep copies of remote volumes in "{self._cache.name}": {error.strerror}; '
                "give another cache folder, or set MEDSSL_HOME"
            ) from error

    def _copy(self, file: str, path: Path, what: str, is_sound: Callable[[Path], bool]) -> None:
        """Copy a file as a whole or not at all, trying again if the network fails."""
        reason: Exception | None = None
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(_PAUSE_SECONDS * 2 ** (attempt - 1))
            try:
                with atomic_path(path, flush=False) as temporary:
                    self._fetch(file, temporary)
                    if not is_sound(temporary):
                        raise ValueError("what arrived is not what the table of the store says")
                return
            except FileNotFoundError as error:
                raise StoreError(
                    f'"{what}" is not in the store at {self.url}; look whether the address is that '
                    "of a folder that medssl prepare wrote"
                ) from error
            except OutputError:
                raise
            except Exception as error:  # noqa: BLE001 - each protocol has errors of its own
                reason = error
        raise StoreError(
            f'"{what}" can\'t be had from the store at {self.url} in {_ATTEMPTS} attempts: '
            f"{reason or 'no answer'}"
        ) from reason

    def _fetch(self, file: str, path: Path) -> None:
        server, root = self._server
        # Names of volumes may hold %20, which is no space; only web servers would take it for one.
        name = quote(file) if self.url.startswith(("http://", "https://")) else file
        server.get_file(f"{root.rstrip('/')}/{name}", str(path))

    @functools.cached_property
    def _server(self) -> tuple[Any, str]:
        try:
            core = importlib.import_module("fsspec.core")
            server, root = core.url_to_fs(self.url, **self._options)
        except (ImportError, ValueError) as error:
            raise StoreError(
                f"the store at {self.url} can't be read: {error}; pip install 'medssl[remote]', "
                "and for s3:// or gs:// the package that fsspec names"
            ) from error
        return server, str(root)

    def _make_room(self, newest: Path) -> None:
        """Remove the copies used longest ago; a process that has one open keeps what it sees."""
        found = []
        for path in (self._cache / "files").glob("*/*.b2nd"):
            with suppress(FileNotFoundError):
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size, path))
        used = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if used <= self._most_bytes:
                break
            if path != newest and not path.name.startswith("."):
                path.unlink(missing_ok=True)
                used -= size


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
