"""Every file below a source, met once and in order of path, without holding them in memory."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

__all__ = [
    "CLOSED_ARCHIVES",
    "OPEN_ARCHIVES",
    "Entry",
    "FileSource",
    "FoundArchive",
    "FoundFile",
    "PassedOver",
    "RefusedPath",
    "walk",
]

OPEN_ARCHIVES = (
    *(".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tbz2", ".tar.xz", ".txz"),
)
"""Endings of archives that are unpacked."""
CLOSED_ARCHIVES = (".7z", ".rar", ".tar.zst", ".tzst", ".tar.lz4", ".tar.z")
"""Endings of archives that the user must unpack."""

_JUNK = {"thumbs.db", "desktop.ini", "dicomdir", "icon\r", "__macosx"}

Identity = tuple[int, int]


@dataclass(frozen=True)
class FileSource:
    """One thing that the user pointed at, or an archive that was found in it.

    Attributes:
        root: The folder that paths are relative to.
        recorded: How a cohort remembers the root: absolute, or relative to the cohort.
        only: The files meant, relative to the root; None stands for all below it.
        within: What comes before a path where names say whose an image is: the archive's place and
            name, or a folder's own name where that names a patient.
        depth: How many archives lie around it.
        shown: How a user knows the root: a folder's or an archive's name, and for an archive inside
            what comes before it.
    """

    root: Path
    recorded: str
    only: tuple[str, ...] | None = None
    within: PurePosixPath = field(default_factory=PurePosixPath)
    depth: int = 0
    shown: PurePosixPath = field(default_factory=PurePosixPath)

    def place(self, path: PurePosixPath) -> PurePosixPath:
        """Return the path by which a file's patient and visit are told."""
        return self.within / path


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A regular file.

    Attributes:
        name: Its path relative to the root of its source, as text: there are many of them.
        size: Bytes.
        mtime_ns: When it was last changed.
    """

    name: str
    size: int
    mtime_ns: int

    @property
    def path(self) -> PurePosixPath:
        """The same as a path."""
        return PurePosixPath(self.name)


@dataclass(frozen=True, slots=True)
class FoundArchive(FoundFile):
    """A file that holds files and can be unpacked."""


@dataclass(frozen=True, slots=True)
class RefusedPath:
    """A file or folder that can't be opened as what it should be.

    Attributes:
        path: Relative to the root of its source.
        code: Reason code.
        detail: What is wrong, without patient data.
    """

    path: PurePosixPath
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A file or folder that is left out by rule.

    Attributes:
        path: Relative to the root of its source.
        kind: Which rule, for the counts.
    """

    path: PurePosixPath
    kind: str


Entry = FoundFile | RefusedPath | PassedOver


def walk(source: FileSource) -> Iterator[Entry]:
    """Yield every file of a source once, in order of path; links are followed, never in circles.

    Memory does not grow with the number of files: only the entries of one folder at a time are
    held, and a number for each folder, so that none is entered twice. A link to a folder of the
    same source is passed over, because what it holds is met at its own place.
    """
    if source.only is None:
        yield from _descend(source.root)
        return
    for name in sorted(source.only):
        yield _entry(source.root / name, name, name)


def _descend(root: Path) -> Iterator[Entry]:
    seen: set[Identity] = set()
    # Each level is (entries still to come, the folder's path); a loop, as folders may lie deeper
    # than Python calls.
    levels = [_listing(root, "", seen)]
    while levels:
        entry = next(levels[-1], None)
        if entry is None:
            levels.pop()
        elif isinstance(entry, str):
            levels.append(_listing(root, entry, seen))
        else:
            yield entry


def _listing(root: Path, folder: str, seen: set[Identity]) -> Iterator[Entry | str]:
    """Yield what a folder holds; folders to enter as their paths alone.

    Paths are text here: making an object of each takes longer than asking the system about it.
    """
    try:
        about = (root / folder).stat()
        if (about.st_dev, about.st_ino) in seen:
            yield PassedOver(PurePosixPath(folder), "link to a folder met before")
            return
        seen.add((about.st_dev, about.st_ino))
        with os.scandir(root / folder) as entries:
            # With its slash a folder sorts as its files' whole paths do.
            found = {(e.name + "/" if _is_folder(e) else e.name): e for e in entries}
    except OSError as error:
        detail = f"the folder can't be listed ({error.strerror})"
        yield RefusedPath(PurePosixPath(folder), "unreadable", detail)
        return
    for name, entry in sorted(found.items()):
        path = f"{folder}/{entry.name}" if folder else entry.name
        if not name.endswith("/"):
            yield _entry(entry, entry.name, path)
        elif _is_hidden(entry.name):
            yield PassedOver(PurePosixPath(path), "hidden")
        elif entry.is_symlink() and _is_met_elsewhere(root, path):
            yield PassedOver(PurePosixPath(path), "link to a folder met before")
        else:
            yield path


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that points at itself
        return False


def _is_met_elsewhere(root: Path, path: str) -> bool:
    """Say whether the folder behind a link is one that the walk enters at its own place."""
    target, whole = (root / path).resolve(), root.resolve()
    return target.is_relative_to(whole) and not any(
        _is_hidden(part) for part in target.relative_to(whole).parts
    )


def _entry(file: Path | os.DirEntry[str], name: str, path: str) -> Entry:
    """Say what one name stands for that is no folder."""
    if _is_hidden(name):
        return PassedOver(PurePosixPath(path), "hidden")
    try:
        about = file.stat()
    except OSError as error:
        detail = f"it can't be opened ({error.strerror})"
        return RefusedPath(PurePosixPath(path), "unreadable", detail)
    if not stat.S_ISREG(about.st_mode):
        return RefusedPath(PurePosixPath(path), "unreadable", "it is no regular file")
    name = name.lower()
    if name.endswith(CLOSED_ARCHIVES):
        detail = "an archive of a kind that is not opened here; unpack it"
        return RefusedPath(PurePosixPath(path), "unreadable", detail)
    kind = FoundArchive if name.endswith(OPEN_ARCHIVES) else FoundFile
    return kind(path, about.st_size, about.st_mtime_ns)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _JUNK
