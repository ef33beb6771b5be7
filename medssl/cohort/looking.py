"""A first look at files, in child processes and on clusters: what is there to be judged?

Nothing that names a patient leaves these functions.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from medssl.cohort import header_text
from medssl.cohort.crew import Run
from medssl.cohort.journal_files import Look
from medssl.errors import VolumeReadError
from medssl.io.dicom_headers import is_dicom, read_dicom_header
from medssl.io.meta_header import read_meta_header
from medssl.io.nrrd_header import read_nrrd_header
from medssl.io.read import find_file_reader, is_companion
from medssl.io.sandbox import SandboxFault

__all__ = ["ALWAYS", "FAULTS", "PASSING", "Batch", "look", "unforeseen"]

ALWAYS = "always"
"""What a later run should look at again whatever happened to the file."""

PASSING = {"unreadable", "codec_missing"}
"""What may change without the file: rights to read it, a network, a codec that is installed."""

FAULTS = {
    "crash": ("corrupt", "reading it ends the process that reads"),
    "timeout": ("corrupt", "reading it takes longer than the limit"),
    "memory": ("too_large", "it does not fit into memory"),
}
"""Code and detail of what a child did not survive."""

_DICOM_SUFFIXES = (b".dcm", b".dicom", b".ima")
_NAMING = {".mhd": read_meta_header, ".nhdr": read_nrrd_header}


@dataclass(frozen=True)
class Batch:
    """Files to look at.

    Attributes:
        root: Their source.
        paths: Relative to it, as the file system spells them.
        salt: For the hashes that take the place of names.
        limits: In words; what breaks them is looked at again under others.
    """

    root: Path
    paths: tuple[bytes, ...]
    salt: bytes
    limits: str


def look(run: Run, batch: Batch) -> list[Look]:
    """Say of each file what it is: DICOM with its header, an image, or nothing to be judged."""
    items = [(batch.root, path, batch.salt) for path in batch.paths]
    looks: list[Look] = []
    for outcome in run(_look, items):
        if isinstance(outcome, SandboxFault):
            code, detail = FAULTS[outcome.kind]
            outcome = Look("refused", code, detail, again=batch.limits)
        looks.append(outcome)
    return looks


def _look(item: tuple[Path, bytes, bytes]) -> Look:
    """Say what one file is, or what keeps one from saying."""
    root, name, salt = item
    try:
        return _kind_of(root / os.fsdecode(name), name, salt)
    except VolumeReadError as error:
        again = ALWAYS if error.code in PASSING else ""
        return Look("refused", error.code, error.detail, again=again)
    except OSError as error:
        detail = f"it can't be opened ({error.strerror})"
        return Look("refused", "unreadable", detail, again=ALWAYS)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - one file's fault must not end the run
        return Look("refused", "corrupt", unforeseen(error))


def _kind_of(path: Path, name: bytes, salt: bytes) -> Look:
    # A file that claims to be DICOM is refused where it is none, any other passed over.
    if not name.lower().endswith(_DICOM_SUFFIXES):
        if is_companion(path):
            return Look("ignored", detail="voxels of a header beside them")
        if find_file_reader(path) is not None:
            series = "image " + sha256(name).hexdigest()[:24]
            return Look("image", series=series, header=_voxels_beside(path))
        if not is_dicom(path):
            return Look("ignored", detail="other kind of file")
    series, text = header_text.nameless_text(read_dicom_header(path), salt)
    # Without a UID the files of a folder are what may belong together.
    folder = "folder " + sha256(os.path.dirname(name)).hexdigest()[:24]  # noqa: PTH120
    return Look("dicom", series=series or folder, header=text)


def _voxels_beside(path: Path) -> str:
    """Return the files that hold the voxels, where the image's own header names others, as JSON."""
    read = _NAMING.get(path.suffix.lower())
    if read is None:
        return ""
    try:
        with path.open("rb") as stream:
            files = [file for file in read(path, stream).files if file != path]
    except VolumeReadError:
        return ""  # its verdict comes when it is read whole
    return json.dumps([str(file.relative_to(path.parent)) for file in files]) if files else ""


def unforeseen(error: Exception) -> str:
    """Return words for an error that no reader foresaw; its own may quote the file."""
    return f"reading it fails in a way not foreseen ({type(error).__name__})"
