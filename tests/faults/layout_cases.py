"""Folders as they are found: links, loops, pipes, junk, odd names, layouts of public cohorts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import fake_dicom as fake
from faults import phantom
from faults.case import FaultCase

from medssl.io.nifti import write_nifti


def image(*names: str) -> Callable[[Path], None]:
    """Return what writes the sound image under these names."""

    def write(folder: Path) -> None:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_nifti(folder / name, phantom.paint(), phantom.AFFINE)

    return write


def text(*names: str, content: str = "x") -> Callable[[Path], None]:
    """Return what writes something that is no image under these names."""

    def write(folder: Path) -> None:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content)

    return write


def link(name: str, target: str) -> Callable[[Path], None]:
    """Return what writes a symbolic link; the target is taken below the folder."""

    def write(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(folder / target)

    return write


def pipe(folder: Path) -> None:
    """Write a named pipe that looks like an image; opening it would wait for ever."""
    os.mkfifo(folder / "pipe.nii.gz")


def socket_file(folder: Path) -> None:
    """Write the file of a socket, where the path is short enough for one."""
    import socket

    here = Path.cwd()
    try:
        os.chdir(folder)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("s.nii")
    finally:
        os.chdir(here)


def odd_bytes(folder: Path) -> None:
    """Write an image whose name and folder are not UTF-8."""
    place = os.path.join(os.fsencode(folder), b"caf\xe9")  # noqa: PTH118 - a path of bytes
    os.mkdir(place)  # noqa: PTH102
    image("plain.nii.gz")(folder)
    os.rename(os.fsencode(folder / "plain.nii.gz"), os.path.join(place, b"sc\xe4n.nii.gz"))  # noqa: PTH104, PTH118


def odd_series(folder: Path) -> None:
    """Write a DICOM series whose names are not UTF-8."""
    files = fake.write_ct(folder / "series", data=phantom.paint(), affine=phantom.AFFINE)
    for number, file in enumerate(files):
        os.rename(file, os.path.join(os.fsencode(file.parent), b"\xff%d" % number))  # noqa: PTH104, PTH118


def series_without_suffix(folder: Path) -> None:
    """Write a DICOM series in folders by series and slice, with the files of a CD around it."""
    files = fake.write_ct(folder / "IMAGES" / "S1", data=phantom.paint(), affine=phantom.AFFINE)
    for number, file in enumerate(files):
        file.rename(file.with_name(f"I{number:05}"))
    text("DICOMDIR", "AUTORUN.INF", "VIEWER/viewer.exe", "README.TXT")(folder)


def all_of(*writers: Callable[[Path], None]) -> Callable[[Path], None]:
    """Return what writes all of it."""

    def write(folder: Path) -> None:
        for writer in writers:
            writer(folder)

    return write


def shouted(folder: Path) -> None:
    """Write an image whose name is all capitals."""
    image("scan_ct.nii.gz")(folder)
    (folder / "scan_ct.nii.gz").rename(folder / "SCAN_CT.NII.GZ")


def namesakes(folder: Path) -> None:
    """Write different images whose names differ in the ending alone."""
    image("scan_ct.nii.gz")(folder)
    write_nifti(folder / "scan_ct.nii", phantom.paint()[1:], phantom.AFFINE)


_SCAN = image("scan_ct.nii.gz")

CASES = [
    FaultCase("a link to an image that is gone", "N22",
              all_of(_SCAN, link("gone.nii.gz", "nowhere.nii.gz")), "unreadable", volumes=1),
    FaultCase("a link to itself", "N22", all_of(_SCAN, link("self.nii", "self.nii")),
              "unreadable", volumes=1),
    FaultCase("a folder that links to itself", "N22", all_of(_SCAN, link("deep/up", ".")),
              phantom=True),
    FaultCase("two folders that link to each other", "N22", all_of(
        image("one/scan_ct.nii.gz"), text("two/notes.txt"), link("one/there", "two"),
        link("two/back", "one"),
    ), phantom=True),
    FaultCase("a folder that is reached by two links", "N22", all_of(
        image("real/scan_ct.nii.gz"), link("a", "real"), link("z", "real")), phantom=True),
    FaultCase("a link to an image in a hidden store", "N22", all_of(
        image(".git/annex/scan_ct.nii.gz"), link("sub-01/T1w_ct.nii.gz",
                                                 ".git/annex/scan_ct.nii.gz")), phantom=True),
    FaultCase("a pipe called like an image", "N22", all_of(_SCAN, pipe), "unreadable", volumes=1),
    FaultCase("a socket called like an image", "N22", all_of(_SCAN, socket_file), "unreadable",
              volumes=1),
    FaultCase("a folder called like an image", "N22", all_of(
        image("scan.nii.gz/scan_ct.nii.gz")), phantom=True),
    FaultCase("very deep folders", "N22", image("d/" * 400 + "scan_ct.nii.gz"), phantom=True),
    FaultCase("names that are not UTF-8", "N21", odd_bytes, phantom=True),
    FaultCase("a series with names that are not UTF-8", "N21", odd_series, phantom=True),
    FaultCase("a name with a line break and a comma", "N21", image("a\n,b\"_ct.nii.gz"),
              phantom=True),
    FaultCase("images whose names differ in the ending alone", "N23", namesakes, volumes=2),
    FaultCase("junk of other systems", "N23", all_of(_SCAN, text(
        "._scan_ct.nii.gz", ".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX/._x.nii",
        ".hidden/x.nii")), phantom=True),
    FaultCase("an ending twice", "N23", image("scan_ct.nii.nii.gz"), phantom=True),
    FaultCase("an ending in capitals", "N23", shouted, phantom=True),
    FaultCase("files of other kinds beside", "N23", all_of(_SCAN, text(
        "notes.txt", "table.csv", "figure.pdf", "scan_ct.json", content="{}")), phantom=True),
    FaultCase("a CD with a viewer", "N23", series_without_suffix, phantom=True),
    FaultCase("one image in two places of one patient", "", image(
        "patient1/a_ct.nii.gz", "patient1/b_ct.nii.gz"), "duplicate", volumes=1),
    FaultCase("one image of two patients", "", image(
        "patient1/scan_ct.nii.gz", "patient2/scan_ct.nii.gz"), volumes=2, phantom=True),
]  # fmt: skip
