"""The files of a store: where they lie, and those that a process has open."""

from __future__ import annotations

import functools
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

from medssl.errors import StoreError
from medssl.sampling.facts import VolumeFacts
from medssl.store.coding import Coding
from medssl.store.layout import RESUME, volume_path
from medssl.store.note import facts_from_note
from medssl.store.recipe import Window
from medssl.store.remote import RemoteFolder
from medssl.store.volume_file import VolumeFile, file_checksum

__all__ = ["OpenVolume", "StoreFiles"]

MOST_OPEN = 128
"""Files that one process keeps open; opening one again takes a fraction of a millisecond."""

MOST_BYTES = 2**31
"""Their size in all: pages of an open file that were read count as memory of the process."""


class OpenVolume:
    """An open volume or mask, with what its note says in the form that reading needs.

    Args:
        file: The open file.
        window: What Hounsfield units become, if not what the note says.
    """

    def __init__(self, file: VolumeFile, window: Window | None) -> None:
        self.file = file
        self._window = window

    @functools.cached_property
    def coding(self) -> Coding:
        """How stored integers become intensities."""
        return self._window.coding() if self._window else Coding(**self.file.note["coding"])

    @functools.cached_property
    def minimum(self) -> int:
        """The smallest stored integer, which is also what lies outside; 0 for a mask."""
        return int(self.file.note.get("minimum", 0))

    @functools.cached_property
    def padding(self) -> float:
        """The smallest intensity."""
        return self.coding.decode_one(self.minimum)

    @functools.cached_property
    def facts(self) -> VolumeFacts:
        """What samplers may know of the volume."""
        return facts_from_note(self.file.note["facts"], self.file.name)


class StoreFiles:
    """The files of a store, opened when first asked for, and the latest ones kept open.

    Args:
        root: The folder of the store.
        recipe_hash: Of the store; a file of another recipe has no place in it.
        remote: Where files are copied from, if the store is not here.
    """

    def __init__(self, root: Path, recipe_hash: str, remote: RemoteFolder | None) -> None:
        self._root = root
        self._recipe_hash = recipe_hash
        self._remote = remote
        self._open: OrderedDict[tuple[str, bool], OpenVolume] = OrderedDict()

    def __len__(self) -> int:
        """Return how many are open."""
        return len(self._open)

    def __getstate__(self) -> dict[str, Any]:
        """Leave open files behind: another process opens its own."""
        return {**self.__dict__, "_open": OrderedDict()}

    def path(self, volume: str, checksum: str, *, label: bool = False) -> Path:
        """Return where a file is, once it is here; a local one may be missing.

        Raises:
            StoreError: If a remote one can't be had.
        """
        if self._remote is None:
            return volume_path(self._root, volume, label=label)
        file = volume_path(Path(), volume, label=label)
        return self._remote.bring(file.as_posix(), checksum, volume)

    def opened(self, volume: str, *, label: bool = False) -> OpenVolume | None:
        """Return a volume that is open, unless its file was replaced or removed meanwhile."""
        found = self._open.get((volume, label))
        if found is None or not self._is_current(found):
            self._open.pop((volume, label), None)
            return None
        with suppress(KeyError):  # another thread may have let go of it
            self._open.move_to_end((volume, label))
        return found

    def _is_current(self, found: OpenVolume) -> bool:
        # A copy may go while it is open, to make room for others.
        if self._remote is not None:
            return True
        try:
            return found.file.is_current()
        except OSError:
            return False

    def open(
        self, volume: str, checksum: str, *, label: bool = False, window: Window | None = None
    ) -> OpenVolume:
        """Open a volume or its mask.

        Args:
            volume: Name of the volume.
            checksum: SHA-256 of the file, by which a remote one is known.
            label: Whether the mask is wanted.
            window: What Hounsfield units become, if not what the note says.

        Raises:
            StoreError: If the file is missing, damaged, or of another recipe.
        """
        file = self._file(volume, checksum, label=label)
        if file.note["recipe_hash"] != self._recipe_hash:
            raise StoreError(
                f'volume "{volume}" was written by another recipe than its store\'s; {RESUME}'
            )
        if file.note["id"] != volume:
            raise StoreError(
                f'the file of volume "{volume}" holds another, so files were mixed up; {RESUME}'
            )
        found = self._open[volume, label] = OpenVolume(file, window)
        used = sum(each.file.size for each in list(self._open.values()))
        while len(self._open) > 1 and (len(self._open) > MOST_OPEN or used > MOST_BYTES):
            used -= self._open.popitem(last=False)[1].file.size
        return found

    def _file(self, volume: str, checksum: str, *, label: bool) -> VolumeFile:
        if self._remote is None:
            return VolumeFile(volume_path(self._root, volume, label=label), volume)
        try:
            return VolumeFile(self.path(volume, checksum, label=label), volume)
        except StoreError:
            # The copy was damaged after it came, or room was made of it this moment.
            self._remote.forget(checksum)
            return VolumeFile(self.path(volume, checksum, label=label), volume)

    def is_whole(self, volume: str, checksum: str, *, label: bool = False) -> bool:
        """Read every byte of a file and say whether it is there as it was written."""
        try:
            path = self.path(volume, checksum, label=label)
            if path.is_file() and file_checksum(path) == checksum:
                return True
            if not self.forget(volume, checksum, label=label):
                return False
            return file_checksum(self.path(volume, checksum, label=label)) == checksum
        except StoreError:
            return False

    def forget(self, volume: str, checksum: str, *, label: bool = False) -> bool:
        """Let go of a damaged copy of a remote file.

        Returns:
            Whether there is another to be had.
        """
        self._open.pop((volume, label), None)
        if self._remote is not None:
            self._remote.forget(checksum)
        return self._remote is not None
