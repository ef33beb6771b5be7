"""Archives in a folder of scans: sound ones are read through, bad ones cost themselves alone."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from faults import phantom
from faults.case import FaultCase

from medssl.io.nifti import write_nifti


def content(folder: Path) -> bytes:
    """Return the bytes of a sound image."""
    file = folder / "sound_ct.nii.gz"
    write_nifti(file, phantom.paint(), phantom.AFFINE)
    written = file.read_bytes()
    file.unlink()
    return written


def zipped(name: str, *members: str | zipfile.ZipInfo, pack: int = zipfile.ZIP_STORED):
    """Return what writes an archive that holds the sound image under these names."""

    def write(folder: Path) -> None:
        image = content(folder)
        with zipfile.ZipFile(folder / name, "w", pack) as archive:
            for member in members:
                archive.writestr(member, image)

    return write


def tarred(name: str, *members: str | tarfile.TarInfo, mode: str = "w"):
    """Return what writes a tar archive that holds the sound image under these names."""

    def write(folder: Path) -> None:
        image = content(folder)
        with tarfile.open(folder / name, mode) as archive:
            for member in members:
                entry = tarfile.TarInfo(member) if isinstance(member, str) else member
                if entry.isreg():
                    entry.size = len(image)
                archive.addfile(entry, io.BytesIO(image) if entry.isreg() else None)

    return write


def spoilt(write: Callable[[Path], None], change: Callable[[bytes], bytes]):
    """Return what writes an archive and then changes its bytes."""

    def spoil(folder: Path) -> None:
        write(folder)
        (file,) = folder.iterdir()
        file.write_bytes(change(file.read_bytes()))

    return spoil


def beside(*writers: Callable[[Path], None]):
    """Return what writes several things into one folder."""

    def write(folder: Path) -> None:
        for writer in writers:
            writer(folder)

    return write


def nested(levels: int):
    """Return what writes an archive in an archive, so many deep."""

    def write(folder: Path) -> None:
        name, inner = "scan_ct.nii.gz", content(folder)
        for level in range(levels):
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w") as archive:
                archive.writestr(name, inner)
            name, inner = f"level{level}.zip", packed.getvalue()
        (folder / name).write_bytes(inner)

    return write


def linked(name: str) -> zipfile.ZipInfo:
    """Return an entry of a zip archive that is a symbolic link."""
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


def special(name: str, kind: bytes) -> tarfile.TarInfo:
    """Return an entry of a tar archive that is no regular file."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, "/etc/passwd"
    return entry


def encrypted(packed: bytes) -> bytes:
    """Mark the first entry of a zip archive as encrypted."""
    changed = bytearray(packed)
    changed[6] |= 1
    changed[packed.index(b"PK\x01\x02") + 8] |= 1
    return bytes(changed)


def written(name: str, data: bytes) -> Callable[[Path], None]:
    """Return what writes a file of these bytes."""
    return lambda folder: (folder / name).write_bytes(data) and None


def zeros(folder: Path) -> None:
    """Write a small archive that unpacks to 32 MiB."""
    with zipfile.ZipFile(folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.nii", bytes(2**25))


def many_zeros(folder: Path) -> None:
    """Write a small compressed tar archive that unpacks to 32 MiB."""
    with tarfile.open(folder / "bomb.tar.bz2", "w:bz2") as archive:
        entry = tarfile.TarInfo("zeros.nii")
        entry.size = 2**25
        archive.addfile(entry, io.BytesIO(bytes(entry.size)))


def _cut(share: float) -> Callable[[bytes], bytes]:
    return lambda packed: packed[: int(len(packed) * share)]


def _good(names: Iterable[tuple[str, str]]) -> list[FaultCase]:
    sound = {"zip": zipped("scans.zip", "P1/scan_ct.nii.gz")}
    sound |= {
        kind: tarred(name, "P1/scan_ct.nii.gz", mode=f"w:{kind.removeprefix('tar')}")
        for kind, name in names
    }
    return [
        FaultCase(f"an archive of kind {kind}", "", write, phantom=True)
        for kind, write in sound.items()
    ]


_ZIP, _TAR = zipped("a.zip", "scan_ct.nii.gz"), tarred("a.tar", "scan_ct.nii.gz")

CASES = [
    *_good([("tar", "s.tar"), ("targz", "s.tar.gz"), ("tarbz2", "s.tar.bz2"), ("tarxz", "s.txz")]),
    FaultCase("a packed zip with junk", "N23", zipped(
        "a.zip", "scan_ct.nii.gz", "__MACOSX/._scan_ct.nii.gz", ".DS_Store", pack=zipfile.ZIP_LZMA
    ), phantom=True),
    FaultCase("an archive in an archive", "", nested(2), phantom=True),
    FaultCase("an archive in an archive in an archive", "", nested(3), "unreadable"),
    FaultCase("a zip of one patient each", "", beside(
        zipped("patient01.zip", "scan_ct.nii.gz"), tarred("patient02.tar", "scan_ct.nii.gz")
    ), volumes=2, phantom=True),
    FaultCase("a zip beside a good image whose entry leads out", "", beside(
        zipped("evil.zip", "../../evil.nii"), written("notes.txt", b"x")
    ), "unreadable"),
    FaultCase("a zip with an absolute entry", "", zipped("a.zip", "/srv/evil.nii"), "unreadable"),
    FaultCase("a zip with an entry of another system", "", zipped("a.zip", "C:\\evil.nii"),
              "unreadable"),
    FaultCase("a zip with a link", "", zipped("a.zip", linked("scan.nii")), "unreadable"),
    FaultCase("a tar whose entry leads out", "", tarred("a.tar", "../evil.nii"), "unreadable"),
    FaultCase("a tar with a link", "", tarred("a.tar", special("scan.nii", tarfile.SYMTYPE)),
              "unreadable"),
    FaultCase("a tar with a hard link", "", tarred("a.tar", special("s.nii", tarfile.LNKTYPE)),
              "unreadable"),
    FaultCase("a tar with a pipe", "", tarred("a.tar", special("s.nii", tarfile.FIFOTYPE)),
              "unreadable"),
    FaultCase("a tar with a device", "", tarred("a.tar", special("s.nii", tarfile.CHRTYPE)),
              "unreadable"),
    FaultCase("an encrypted zip", "", spoilt(_ZIP, encrypted), "unreadable", detail="encrypted"),
    FaultCase("a zip cut short", "N01", spoilt(_ZIP, _cut(0.7)), "corrupt"),
    FaultCase("a zip with a flipped bit", "N03", spoilt(
        _ZIP, lambda packed: packed[:200] + bytes([packed[200] ^ 4]) + packed[201:]
    ), "corrupt"),
    FaultCase("a tar cut short", "N01", spoilt(_TAR, _cut(0.15)), "corrupt"),
    FaultCase("a compressed tar cut short", "N01", spoilt(
        tarred("a.tgz", "scan_ct.nii.gz", mode="w:gz"), _cut(0.9)
    ), "corrupt"),
    FaultCase("an empty file called zip", "N04", written("a.zip", b""), "corrupt"),
    FaultCase("an empty file called tar", "N04", written("a.tar.gz", b""), "corrupt"),
    FaultCase("a zip bomb", "N06", zeros, "too_large"),
    FaultCase("a tar bomb", "N06", many_zeros, "too_large"),
    FaultCase("an archive of a kind that is not opened", "", written("a.7z", b"7z\xbc\xaf'\x1c"),
              "unreadable", detail="unpack it"),
]  # fmt: skip
