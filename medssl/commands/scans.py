"""From what a user points at to named scans: files, folders, series, patterns."""

from __future__ import annotations

import glob
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from medssl.errors import InputError, UsageError

__all__ = ["find_scans", "opened_scans"]


@contextmanager
def opened_scans(sources: Sequence[Path | str]) -> Iterator[dict[str, Path]]:
    """Lend the scans of :func:`find_scans`; zip and tar archives are unpacked for as long.

    Raises:
        InputError: If a source does not exist, holds no image, or is an archive that can't be
            opened.
        UsageError: If one scan was given twice, or two can't be told apart by name.
    """
    from medssl.cohort.unpack import unpack
    from medssl.cohort.walk import OPEN_ARCHIVES

    paths = [path for source in sources for path in _existing(source)]
    with tempfile.TemporaryDirectory(prefix="medssl-") as place:
        for number, path in enumerate(paths):
            if path.is_file() and path.name.lower().endswith(OPEN_ARCHIVES):
                # Named after the archive, which says where a series without folder comes from.
                folder = Path(place) / str(number) / path.name.split(".", 1)[0]
                folder.parent.mkdir()
                paths[number] = unpack(path, folder)
        yield find_scans(paths)


def find_scans(sources: Sequence[Path | str]) -> dict[str, Path]:
    """Return every scan that the sources hold, folders in alphabetical order.

    Args:
        sources: Files, folders (searched to the bottom) and patterns such as ``scans/*.nii.gz``. A
            folder that holds one DICOM series is one scan.

    Returns:
        Name of each scan and where it is. The name is that of the file or series, without what says
        only its format; where that is taken, the names of the folders above come before it.

    Raises:
        InputError: If a source does not exist or holds no image.
        UsageError: If one scan was given twice, or two can't be told apart by name.
    """
    named: dict[str, Path] = {}
    places: set[Path] = set()
    for source in sources:
        for scan in (scan for path in _existing(source) for scan in _at(path)):
            if scan.resolve() in places:
                raise UsageError(f'"{scan.name}" was given twice; give each scan once')
            places.add(scan.resolve())
            named[_free_name(scan, named)] = scan
    return named


def _existing(source: Path | str) -> list[Path]:
    if Path(source).exists():
        return [Path(source)]
    matches = sorted(glob.glob(str(source), recursive=True))  # noqa: PTH207 may start at the root
    if not matches:
        raise InputError(f'"{Path(source).name}" does not exist; give a file or folder that does')
    return [Path(match) for match in matches]


def _at(path: Path) -> list[Path]:
    """Return the scans that a path means.

    Raises:
        InputError: If it is a folder without an image.
    """
    from medssl.io.read import READERS

    if path.is_file():
        return [path]
    found = list(_below(path))
    if not found:
        formats = ", ".join(reader.format for reader in READERS)
        raise InputError(f'no image in "{path.name}"; expected files of {formats}')
    return found


def _below(folder: Path) -> Iterator[Path]:
    from medssl.io.read import find_reader

    if find_reader(folder) is not None:
        yield folder
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _below(path)
        elif find_reader(path) is not None:
            yield path


def _free_name(scan: Path, taken: dict[str, Path]) -> str:
    from medssl.evaluation.pairs import case_name

    place = scan.resolve()
    name = case_name(scan) if scan.is_file() else place.name
    for parent in place.parents:
        if name not in taken or not parent.name:
            break
        name = f"{parent.name}_{name}"
    if name in taken:
        raise UsageError(f'two scans are called "{name}"; give them one after the other')
    return name
