"""Writing so that a file is either whole or absent, and an output folder is never another's.

Everything goes to a temporary name in the same folder, is flushed to the disk and then renamed: a
kill, a full disk or an error halfway leaves what was there before.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from medssl.errors import OutputError, UsageError

__all__ = ["atomic_path", "claim_output", "release_output", "write_json", "write_text"]

MARKER = ".medssl"
"""Left in every output folder; only a folder that has it may be emptied by ``--overwrite``."""

_MARKER_TEXT = "medssl wrote this folder; a command with --overwrite may empty it.\n"
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO}
_REASONS = {
    errno.EACCES: "no permission to write there",
    errno.EPERM: "no permission to write there",
    errno.EROFS: "the file system is read-only",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EEXIST: "it is a file, not a folder",
}


@contextmanager
def atomic_path(path: Path, *, mode: int | None = None, flush: bool = True) -> Iterator[Path]:
    """Lend a temporary path that takes the place of ``path`` when the block ends well.

    The temporary name ends in the final name, so that writers that choose a format by its suffix
    choose rightly.

    Args:
        path: The file to be written; its folder exists.
        mode: Permission bits, such as ``0o600`` for a file that holds paths of patients.
        flush: Wait until the disk has it. Thousands of small files that can be made again need not.

    Raises:
        OutputError: If the folder can't be written or the disk is full.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "note.txt"
        >>> with atomic_path(target) as temporary:
        ...     _ = temporary.write_text("whole or absent")
        >>> target.read_text()
        'whole or absent'
    """
    temporary = path.with_name(f".{secrets.token_hex(4)}.part.{path.name}")
    try:
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        os.close(os.open(temporary, flags, 0o666 if mode is None else mode))
    except OSError as error:
        raise _output_error(path, error) from error
    try:
        yield temporary
        if flush:
            _flush(temporary)
        temporary.replace(path)
        if flush:
            with suppress(OSError):  # some network file systems can't flush a folder
                _flush(path.parent)
    except OSError as error:
        if error.errno in _DISK_ERRORS and not isinstance(error, OutputError):
            raise _output_error(path, error) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, mode: int | None = None) -> None:
    """Write a text file in one step, UTF-8."""
    with atomic_path(path, mode=mode) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any, *, mode: int | None = None) -> None:
    """Write primitives as indented JSON in one step.

    Non-ASCII letters are escaped, so that file names that are not UTF-8 survive the round trip.

    Raises:
        ValueError: If a number is not finite: JSON has no word for it.
    """
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n", mode=mode)


def claim_output(out: Path, *, overwrite: bool = False, resume: bool = False) -> Path:
    """Make an output folder, or take over an old one when the user said so.

    Args:
        out: The folder; its parents are made too.
        overwrite: Empty the folder first, if an earlier command of medssl wrote it.
        resume: Keep what is there and go on.

    Returns:
        The folder, ready to be written.

    Raises:
        UsageError: If it holds something and neither option was given, or is not medssl's to empty.
        OutputError: If it can't be made or written.
    """
    if overwrite and resume:
        raise UsageError("--overwrite and --resume exclude each other; give one of them")
    try:
        out.mkdir(parents=True, exist_ok=True)
        content = {entry.name for entry in out.iterdir()}
    except OSError as error:
        raise _output_error(out, error) from error
    if content - {MARKER} and not resume:
        _empty(out, content, overwrite=overwrite)
    write_text(out / MARKER, _MARKER_TEXT)
    return out


def release_output(out: Path) -> None:
    """Undo :func:`claim_output` after a refusal: a folder that holds nothing yet goes away."""
    if out.is_dir() and {entry.name for entry in out.iterdir()} <= {MARKER}:
        shutil.rmtree(out)


def _empty(out: Path, content: set[str], *, overwrite: bool) -> None:
    if not overwrite:
        raise UsageError(
            f'the output folder "{out}" is not empty; give --overwrite to replace what an earlier '
            "command wrote there, --resume to go on with it, or another --out"
        )
    if MARKER not in content:
        raise UsageError(
            f'the output folder "{out}" holds files that medssl did not write, so --overwrite will '
            "not empty it; give another --out"
        )
    try:
        for entry in out.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    except OSError as error:
        raise _output_error(out, error) from error


def _flush(path: Path) -> None:
    """Ask the system to bring a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _output_error(path: Path, error: OSError) -> OutputError:
    reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
    return OutputError(f'can\'t write "{path.name}": {reason}; choose another --out')
