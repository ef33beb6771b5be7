"""Zip archives opened without trust: no path leaves the folder, no link, no bomb."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from medssl.errors import InputError, OutputError

__all__ = ["unpack_zip"]

MOST_FILES = 2_000_000
MOST_BYTES = 2**40
HIGHEST_RATIO = 1000
_SMALL_BYTES = 2**24


def unpack_zip(archive: Path, folder: Path) -> Path:
    """Unpack an archive into a new folder.

    Args:
        archive: The zip file.
        folder: Does not exist yet.

    Returns:
        The folder.

    Raises:
        InputError: If the archive is damaged or encrypted, or an entry has a path that leads out of
            the folder, is a link, or unpacks to implausibly much.
        OutputError: If the disk is full.
    """
    partial = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        with zipfile.ZipFile(archive) as content:
            entries = [entry for entry in content.infolist() if not entry.is_dir()]
            _check(archive, entries)
            for entry in entries:
                _unpack_entry(content, entry, partial)
        partial.rename(folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise InputError(f'the archive "{archive.name}" is damaged; copy it again') from error
    except RuntimeError as error:
        raise InputError(
            f'the archive "{archive.name}" is encrypted; unpack it and give the folder'
        ) from error
    except OSError as error:
        if isinstance(error, InputError):
            raise
        raise OutputError(f'can\'t unpack "{archive.name}": {error.strerror}') from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _check(archive: Path, entries: list[zipfile.ZipInfo]) -> None:
    """Refuse the whole archive for one bad entry: whoever made it meant harm, or made a mistake."""
    if len(entries) > MOST_FILES or sum(entry.file_size for entry in entries) > MOST_BYTES:
        raise InputError(
            f'the archive "{archive.name}" claims implausibly much; unpack it yourself'
        )
    for entry in entries:
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0] or "\0" in str(path):
            reason = "a path that leads out of its folder"
        elif kind not in (0, stat.S_IFREG):
            reason = "a link or a device"
        elif _is_bomb(entry):
            reason = "a file that unpacks to implausibly much"
        else:
            continue
        raise InputError(f'the archive "{archive.name}" holds {reason}; it is not opened')


def _is_bomb(entry: zipfile.ZipInfo) -> bool:
    return entry.file_size > _SMALL_BYTES and entry.file_size > HIGHEST_RATIO * max(
        entry.compress_size, 1
    )


def _unpack_entry(content: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> None:
    target = folder.joinpath(*PurePosixPath(entry.filename.replace("\\", "/")).parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    # zipfile stops at the declared size, so a lie about it ends in an error, not in a full disk.
    with content.open(entry) as packed, target.open("xb") as unpacked:
        shutil.copyfileobj(packed, unpacked, 2**20)
