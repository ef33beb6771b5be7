"""What a user points at, and every file below it: taken, passed over by rule, or refused."""

from __future__ import annotations

import glob
import os
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from medssl.cohort.unpack import unpack_zip
from medssl.errors import InputError

__all__ = ["FileSource", "Walk", "from_text", "open_sources", "to_text", "walk"]

_JUNK = {"thumbs.db", "desktop.ini", "dicomdir", "icon\r", "__macosx"}
_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".7z", ".rar", ".tar.bz2", ".tar.xz")
_ESCAPED = "bytes:"


@dataclass(frozen=True)
class FileSource:
    """One thing that the user pointed at.

    Attributes:
        root: The folder that paths are relative to.
        recorded: How a cohort remembers the root: absolute, or relative to the cohort.
        only: The files meant, relative to the root; None stands for all below it.
    """

    root: Path
    recorded: str
    only: tuple[str, ...] | None = None


@dataclass
class Walk:
    """What a walk through one source found.

    Attributes:
        files: Regular files, relative to the root, in order of path.
        refused: Paths of things that can't be opened as files, and why.
        ignored: How many files were passed over, by kind.
    """

    files: list[PurePosixPath] = field(default_factory=list)
    refused: list[tuple[PurePosixPath, str]] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)


def open_sources(sources: Sequence[Path | str], out: Path) -> list[FileSource]:
    """Resolve files, folders, patterns and zip archives.

    Args:
        sources: As the user typed them.
        out: The cohort folder, where archives are unpacked.

    Raises:
        InputError: If one does not exist, or is a folder that the cohort would lie in.
    """
    opened: list[FileSource] = []
    for source in sources:
        path = Path(source).expanduser()
        matches = [path] if path.exists() else _matches(path)
        if not matches:
            raise InputError(
                f'"{path.name}" does not exist; give a file, a folder, a zip or a pattern'
            )
        folders = [match for match in matches if match.is_dir()]
        archives = [match for match in matches if match.name.lower().endswith(".zip")]
        plain = [match for match in matches if match not in folders and match not in archives]
        for folder in folders:
            _check_apart(folder, out)
            opened.append(FileSource(folder.resolve(), str(folder.resolve())))
        for archive in archives:
            name = PurePosixPath("unpacked") / str(len(opened))
            opened.append(FileSource(unpack_zip(archive, out / name), str(name)))
        opened += _files_together(plain)
    return opened


def walk(source: FileSource) -> Walk:
    """Find every file of a source once, following links but never in circles."""
    found = Walk()
    if source.only is not None:
        for name in source.only:
            _sort_in(found, source.root / name, PurePosixPath(name))
    else:
        _descend(found, source.root, PurePosixPath(), {_identity(source.root)})
    found.files.sort(key=str)
    return found


def to_text(path: PurePosixPath) -> str:
    r"""Return a path as text that a table can hold, also where the name is not UTF-8.

    Example:
        >>> from_text(to_text(PurePosixPath("a/\udce9.nii"))) == PurePosixPath("a/\udce9.nii")
        True
    """
    text = str(path)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return _ESCAPED + os.fsencode(text).hex()
    return text


def from_text(text: str) -> PurePosixPath:
    """Return the path that :func:`to_text` wrote."""
    if text.startswith(_ESCAPED):
        return PurePosixPath(os.fsdecode(bytes.fromhex(text.removeprefix(_ESCAPED))))
    return PurePosixPath(text)


def _matches(pattern: Path) -> list[Path]:
    return sorted(map(Path, glob.glob(str(pattern), recursive=True)))  # noqa: PTH207 - also absolute


def _check_apart(folder: Path, out: Path) -> None:
    if out.resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f'the cohort "{out.name}" would lie inside the source "{folder.name}", which is never '
            "written to; give another --out"
        )


def _files_together(files: Sequence[Path]) -> list[FileSource]:
    """Return one source for the files of each folder: the slices of a series stay together."""
    folders: dict[Path, list[str]] = {}
    for file in files:
        folders.setdefault(file.parent.resolve(), []).append(file.name)
    return [FileSource(root, str(root), tuple(names)) for root, names in folders.items()]


def _descend(
    found: Walk, folder: Path, relative: PurePosixPath, seen: set[tuple[int, int]]
) -> None:
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries)
    except OSError as error:
        found.refused.append((relative, f"the folder can't be listed ({error.strerror})"))
        return
    for name in names:
        path, inside = folder / name, relative / name
        if _is_hidden(name):
            found.ignored["hidden"] += 1
        elif path.is_dir():
            identity = _identity(path)
            if identity not in seen:
                _descend(found, path, inside, seen | {identity})
            else:
                found.ignored["link in a circle"] += 1
        else:
            _sort_in(found, path, inside)


def _sort_in(found: Walk, path: Path, relative: PurePosixPath) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        found.refused.append((relative, f"it can't be opened ({error.strerror})"))
        return
    if _is_hidden(path.name):
        found.ignored["hidden"] += 1
    elif path.name.lower().endswith(_ARCHIVES):
        found.ignored["archive inside a folder"] += 1
    elif not stat.S_ISREG(mode):
        found.refused.append((relative, "it is no regular file"))
    else:
        found.files.append(relative)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _JUNK


def _identity(path: Path) -> tuple[int, int]:
    about = path.stat()
    return about.st_dev, about.st_ino
