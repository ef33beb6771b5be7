"""Zip and tar archives opened without trust: no path leaves the folder, no link, no bomb."""

from __future__ import annotations

import errno
import lzma
import os
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from medssl.cohort.bounds import (
    HIGHEST_RATIO,
    SMALL_BYTES,
    Bounds,
    refuse_archive,
    write_entry,
)
from medssl.cohort.unpack_tar import unpack_tar
from medssl.errors import OutputError, VolumeReadError

__all__ = ["unpack", "unpack_zip"]

_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, ValueError),
    *(LookupError, OverflowError),
)
_REASONS = {
    **dict.fromkeys((errno.EACCES, errno.EPERM), ("unreadable", "can't be opened")),
    **dict.fromkeys(
        (errno.EEXIST, errno.ENOTDIR, errno.EISDIR), ("unreadable", "holds two entries of one name")
    ),
    **dict.fromkeys(
        (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ),
        ("unreadable", "holds a name that this disk can't hold"),
    ),
}
_ENCRYPTED = 1


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a zip or tar archive, by its name, into a new folder that its owner alone can read.

    The folder appears whole or not at all. All files get the time of the archive, so that the same
    archive unpacked twice is the same to whoever looks at size and time.

    Args:
        archive: The archive.
        folder: Does not exist yet.

    Returns:
        The folder.

    Raises:
        VolumeReadError: If the archive is damaged or encrypted, or an entry has a path that leads
            out of the folder, is a link or device, or unpacks to implausibly much.
        OutputError: If the disk is full.
    """
    if archive.name.lower().endswith(".zip"):
        return unpack_zip(archive, folder)
    return _into_new_folder(archive, folder, unpack_tar)


def unpack_zip(archive: Path, folder: Path) -> Path:
    """Unpack a zip archive as :func:`unpack` does, whatever its name."""
    return _into_new_folder(archive, folder, _unpack_zip)


def _into_new_folder(archive: Path, folder: Path, fill: Callable[[Bounds, Path], None]) -> Path:
    # Two processes may unpack one archive; the first to finish gives it its name.
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with _told(archive):
            partial.mkdir(parents=True, mode=0o700)
            fill(Bounds.of(archive), partial)
        try:
            partial.rename(folder)
        except OSError as error:
            if not folder.is_dir():
                raise OutputError(f'can\'t unpack "{archive.name}": {error.strerror}') from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


@contextmanager
def _told(archive: Path) -> Iterator[None]:
    """Turn what goes wrong with an archive into a verdict, and with the disk into its own error."""
    try:
        yield
    except (VolumeReadError, OutputError):
        raise
    except RuntimeError as error:  # and NotImplementedError
        _refuse_from(error, archive, "unreadable", "is packed in a way that is not known here")
    except _DAMAGE as error:
        _refuse_from(error, archive, "corrupt", "is damaged")
    except OSError as error:
        if error.errno in _DISK_ERRORS and error.filename != str(archive):
            raise OutputError(f'can\'t unpack "{archive.name}": {error.strerror}') from None
        _refuse_from(error, archive, *_REASONS.get(error.errno or 0, ("corrupt", "is damaged")))


def _refuse_from(error: Exception, archive: Path, code: str, detail: str) -> NoReturn:
    try:
        refuse_archive(archive, code, detail)
    except VolumeReadError as refusal:
        # The cause may quote an entry's name, which may be a patient's.
        del error
        raise refusal from None


def _unpack_zip(bounds: Bounds, folder: Path) -> None:
    with zipfile.ZipFile(bounds.archive) as content:
        entries = [entry for entry in content.infolist() if not entry.is_dir()]
        for entry in entries:
            _check(bounds, entry)
        for entry in entries:
            # zipfile stops at the declared size, so a lie about it ends in an error, not in a full
            # disk.
            with content.open(entry) as packed:
                write_entry(bounds, folder, entry.filename, packed)


def _check(bounds: Bounds, entry: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    bounds.path(entry.filename)
    if kind not in (0, stat.S_IFREG):
        refuse_archive(bounds.archive, "unreadable", "holds a link or a device")
    if entry.flag_bits & _ENCRYPTED:
        refuse_archive(bounds.archive, "unreadable", "is encrypted")
    if entry.file_size > max(SMALL_BYTES, HIGHEST_RATIO * entry.compress_size):
        refuse_archive(bounds.archive, "too_large", "holds a file that unpacks to implausibly much")
    bounds.take(entry.file_size)
