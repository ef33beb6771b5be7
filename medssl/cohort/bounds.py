"""What an archive may unpack to, and the refusal of one that wants more."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, NoReturn

from medssl.errors import VolumeReadError

__all__ = ["HIGHEST_RATIO", "SMALL_BYTES", "Bounds", "refuse_archive", "write_entry"]

MOST_FILES = 2_000_000
MOST_BYTES = 2**40
HIGHEST_RATIO = 1000
SMALL_BYTES = 2**24


@dataclass
class Bounds:
    """What one archive may still unpack to.

    Attributes:
        archive: The archive.
        files: Files still allowed.
        bytes: Bytes still allowed: a multiple of the archive's own size, as far as disks go.
    """

    archive: Path
    files: int
    bytes: int

    @classmethod
    def of(cls, archive: Path) -> Bounds:
        """Return the bounds for an archive of this size."""
        most = max(SMALL_BYTES, HIGHEST_RATIO * archive.stat().st_size)
        return cls(archive, MOST_FILES, min(most, MOST_BYTES))

    def take(self, size: int) -> None:
        """Count one more file.

        Raises:
            VolumeReadError: If there are too many, or they are too large.
        """
        self.files -= 1
        self.bytes -= size
        if self.files < 0 or self.bytes < 0:
            refuse_archive(self.archive, "too_large", "unpacks to implausibly much")

    def path(self, name: str) -> PurePosixPath:
        """Return where in the new folder an entry goes.

        Raises:
            VolumeReadError: If its name leads elsewhere.
        """
        path = PurePosixPath(name.replace("\\", "/"))
        parts = path.parts
        if not parts or path.is_absolute() or ".." in parts or ":" in parts[0] or "\0" in name:
            refuse_archive(self.archive, "unreadable", "holds a path that leads out of its folder")
        return path


def refuse_archive(archive: Path, code: str, detail: str) -> NoReturn:
    """Refuse a whole archive: whoever made a bad entry meant harm, or made a mistake.

    Raises:
        VolumeReadError: Always; the message names the archive, the detail does not.
    """
    advice = "copy it again" if code == "corrupt" else "it is not opened; unpack it yourself"
    detail = f"{detail}; {advice}"
    message = f'the archive "{archive.name}" {detail}'
    raise VolumeReadError(message, code=code, detail=f"the archive {detail}")


def write_entry(bounds: Bounds, folder: Path, name: str, content: IO[bytes]) -> None:
    """Write one file of an archive below a folder."""
    target = folder.joinpath(*bounds.path(name).parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as unpacked:
        shutil.copyfileobj(content, unpacked, 2**20)
    time = bounds.archive.stat().st_mtime_ns
    os.utime(target, ns=(time, time))
