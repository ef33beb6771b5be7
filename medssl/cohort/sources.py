"""What a user points at, and every file in it: found, passed over by rule, or refused."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from medssl.cohort.identity import is_patient_name, pseudonym, read_salt
from medssl.cohort.unpack import unpack
from medssl.cohort.walk import (
    OPEN_ARCHIVES,
    Entry,
    FileSource,
    FoundArchive,
    FoundFile,
    PassedOver,
    RefusedPath,
    walk,
)
from medssl.errors import InputError, VolumeReadError

__all__ = [
    "Entry",
    "FileSource",
    "FoundFile",
    "PassedOver",
    "RefusedPath",
    "from_text",
    "open_sources",
    "to_text",
    "walk",
    "walk_all",
]

_ESCAPED = "bytes:"
_UNPACKED = PurePosixPath("unpacked")
_DEEPEST = 2
"""An archive may hold archives, and those no more."""


def open_sources(sources: Sequence[Path | str], out: Path) -> list[FileSource]:
    """Resolve files, folders, patterns, and zip and tar archives.

    Args:
        sources: As the user typed them.
        out: The cohort folder, where archives are unpacked. One that is there already, from the
            same archive, is used as it is.

    Raises:
        InputError: If one does not exist, is an archive that can't be opened, or is a folder that
            the cohort would lie in.
        OutputError: If the disk is full.
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
        archives = [match for match in matches if match not in folders and _is_archive(match)]
        plain = [match for match in matches if match not in folders and match not in archives]
        opened += [_open_folder(folder, out) for folder in folders]
        opened += [_open_archive(archive.resolve(), out) for archive in archives]
        opened += _files_together(plain)
    return list(dict.fromkeys(opened))


def walk_all(sources: list[FileSource], out: Path) -> Iterator[tuple[int, Entry]]:
    """Yield every file of all sources with the number of its source.

    An archive that lies in a source is unpacked and becomes a source of its own, after all others;
    one that can't be opened is refused, and nothing else is lost.

    Args:
        sources: As :func:`open_sources` returned them; grows by one for each archive.
        out: The cohort folder.

    Raises:
        OutputError: If the disk is full.
    """
    for number, source in enumerate(sources):  # sees what is appended meanwhile
        for entry in walk(source):
            if not isinstance(entry, FoundArchive):
                yield number, entry
            elif source.depth >= _DEEPEST:
                detail = "an archive inside an archive inside an archive; unpack it"
                yield number, RefusedPath(entry.path, "unreadable", detail)
            else:
                try:
                    sources.append(_open_inside(source, entry, out))
                except VolumeReadError as error:
                    yield number, RefusedPath(entry.path, error.code, error.detail)


def to_text(path: PurePosixPath | str) -> str:
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


def _is_archive(path: Path) -> bool:
    return path.name.lower().endswith(OPEN_ARCHIVES)


def _open_folder(folder: Path, out: Path) -> FileSource:
    root = folder.resolve()
    if out.resolve().is_relative_to(root):
        raise InputError(
            f'the cohort "{out.name}" would lie inside the source "{folder.name}", which is never '
            "written to; give another --out"
        )
    within = PurePosixPath(root.name) if is_patient_name(root.name) else PurePosixPath()
    return FileSource(root, str(root), within=within, shown=PurePosixPath(root.name))


def _files_together(files: Sequence[Path]) -> list[FileSource]:
    """Return one source for the files of each folder: the slices of a series stay together."""
    folders: dict[Path, list[str]] = {}
    for file in files:
        folders.setdefault(file.parent.resolve(), []).append(file.name)
    return [
        FileSource(root, str(root), tuple(names), shown=PurePosixPath(root.name))
        for root, names in folders.items()
    ]


def _open_inside(source: FileSource, found: FoundFile, out: Path) -> FileSource:
    """Open an archive that was found in a source; what it holds belongs where it lies."""
    opened = _open_archive(source.root / found.path, out)
    within = source.place(found.path.parent) / opened.within
    shown = source.shown / found.path
    return replace(opened, within=within, depth=source.depth + 1, shown=shown)


def _open_archive(archive: Path, out: Path) -> FileSource:
    """Unpack an archive below the cohort, unless that was done before and it did not change.

    The folder is named by salted hashes, of the archive's path, which may name a patient, and of
    its size and time: a folder of that name is whole, and is of this archive.
    """
    salt, about = read_salt(), archive.stat()
    place = pseudonym(salt, str(archive.resolve()))
    version = pseudonym(salt, f"{about.st_size} {about.st_mtime_ns}")[:8]
    recorded = _UNPACKED / f"{place}-{version}"
    if not (out / recorded).is_dir():
        (out / _UNPACKED).mkdir(mode=0o700, parents=True, exist_ok=True)
        for outdated in (out / _UNPACKED).glob(f"{place}-*"):
            shutil.rmtree(outdated)
        unpack(archive, out / recorded)
    within = PurePosixPath(_stem(archive.name))
    shown = PurePosixPath(archive.name)
    return FileSource(out / recorded, str(recorded), within=within, depth=1, shown=shown)


def _stem(name: str) -> str:
    """Return an archive's name without what says its format."""
    for ending in sorted(OPEN_ARCHIVES, key=len, reverse=True):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name
