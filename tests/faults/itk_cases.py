"""NRRD and MetaImage with one fault each; the sound ones are written here, not by ITK."""

from __future__ import annotations

import bz2
import gzip
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from faults.case import FaultCase
from faults.nifti_cases import FIRST, ROOMY, SPLIT, flipped, holes, leaning, series
from faults.phantom import AFFINE, SHAPE, paint

TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
SPACES = {
    "left-posterior-superior": (-1, -1, 1),
    "LPS": (-1, -1, 1),
    "right-anterior-superior": (1, 1, 1),
    "RAS": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
}
Write = Callable[[Path], None]


def triple(vector: np.ndarray) -> str:
    return "(" + ",".join(f"{number:.9g}" for number in vector) + ")"


def nrrd_fields(affine: np.ndarray, space: str) -> dict[str, str]:
    placed = np.diag([*SPACES[space], 1.0]) @ affine
    return {
        "space": space,
        "space directions": " ".join(triple(placed[:3, axis]) for axis in range(3)),
        "space origin": triple(placed[:3, 3]),
    }


def nrrd(
    data: np.ndarray | None = None,
    affine: np.ndarray = AFFINE,
    *,
    space: str = "left-posterior-superior",
    payload: bytes | None = None,
    **changes: str | None,
) -> bytes:
    """Return a NRRD file; changes set fields, with ``_`` for a blank, or leave one out."""
    values = paint() if data is None else data
    names = {"<i2": "short", "<f4": "float", "|u1": "uchar", "|b1": "uchar", ">i2": "short"}
    fields: dict[str, str | None] = {
        "type": names.get(values.dtype.str, values.dtype.name),
        "dimension": str(values.ndim),
        "sizes": " ".join(map(str, values.shape)),
        "encoding": "raw",
        "endian": "little",
        **nrrd_fields(affine, space),
        **{name.replace("_", " "): value for name, value in changes.items()},
    }
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    text = "\n".join(["NRRD0004", "# a comment: of no meaning", *lines, "patient:=nobody"])
    raw = values.tobytes(order="F") if payload is None else payload
    return text.encode() + b"\n\n" + raw


def raw_of(data: np.ndarray | None = None) -> bytes:
    return (paint() if data is None else data).tobytes(order="F")


def meta(
    data: np.ndarray | None = None,
    affine: np.ndarray = AFFINE,
    *,
    payload: bytes | None = None,
    **changes: str | None,
) -> bytes:
    """Return a MetaImage file; changes set fields or leave one out."""
    values = paint() if data is None else data
    count = values.ndim
    lps = TO_LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    matrix, place, size = np.eye(count), np.zeros(count), np.ones(count)
    inner = min(count, 3)
    matrix[:inner, :inner] = (lps[:3, :3] / spacing).T[:inner, :inner]
    place[:inner], size[:inner] = lps[:inner, 3], spacing[:inner]
    kinds = {"i2": "MET_SHORT", "u1": "MET_UCHAR", "f4": "MET_FLOAT", "i4": "MET_INT"}
    fields: dict[str, str | None] = {
        "ObjectType": "Image",
        "NDims": str(count),
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False",
        "TransformMatrix": " ".join(f"{number:.9g}" for number in matrix.ravel()),
        "Offset": " ".join(f"{number:.9g}" for number in place),
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": " ".join(f"{number:.9g}" for number in size),
        "DimSize": " ".join(map(str, values.shape)),
        "ElementType": kinds[values.dtype.str[1:]],
        **changes,
    }
    fields.setdefault("ElementDataFile", "LOCAL")
    lines = [f"{name} = {value}" for name, value in fields.items() if value is not None]
    return ("\n".join(lines) + "\n").encode() + (raw_of(values) if payload is None else payload)


def one(name: str, make: Callable[[], bytes]) -> Write:
    """Return a writer of one file."""
    return lambda folder: (folder / name).write_bytes(make()) and None


def files(**contents: Callable[[], bytes]) -> Write:
    """Return a writer of several; in their names ``__`` stands for a dot."""

    def write(folder: Path) -> None:
        for name, make in contents.items():
            target = folder / name.replace("__", ".")
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(make())

    return write


def slices(names: str) -> Write:
    """Return a writer of a header that names its slices, each a file, in one of three ways."""

    def write(folder: Path) -> None:
        detached = meta(payload=b"", ElementDataFile=names).decode()
        for number in range(SHAPE[2]):
            name = f"slice{number:02}.raw"
            (folder / name).write_bytes(raw_of(paint()[:, :, number]))
            detached += f"{name}\n" if names == "LIST" else ""
        (folder / "scan.mhd").write_bytes(detached.encode())

    return write


def beside(folder: Path, header: bytes, name: str = "scan.nhdr") -> None:
    """Put the voxels into the folder above the header, where they are not to be looked for."""
    (folder / "deep").mkdir()
    (folder / "deep" / name).write_bytes(header)
    (folder / "voxels.raw").write_bytes(raw_of())


def named(raw_name: bytes, make: Callable[[], bytes]) -> Write:
    return lambda folder: (folder / os.fsdecode(raw_name)).write_bytes(make()) and None


def text_of(data: np.ndarray) -> bytes:
    return " ".join(map(str, data.ravel(order="F"))).encode()


def lean(name: str, make: Callable[..., bytes], *leans: tuple[int, int, float]) -> Write:
    affine = leaning(*leans)
    return one(name, lambda: make(paint(ROOMY, affine), affine))


BIG = paint().astype(">i2")
COLOURS = np.stack([paint().astype(np.uint8)] * 3)
NONE_FIRST = "none " + nrrd_fields(AFFINE, "LPS")["space directions"]
NONE_LAST = nrrd_fields(AFFINE, "LPS")["space directions"] + " none"
FRAMES_FIRST = np.moveaxis(series(), 3, 0)
UNPLACED = {"space": None, "space_directions": None, "space_origin": None}
UNKNOWN = ("orientation_unknown",)
CENTIMETRES = AFFINE * [[0.1], [0.1], [0.1], [1]]

NRRD = [
    FaultCase("NRRD, sound", "", one("a.nrrd", nrrd), phantom=True),
    *(
        FaultCase(
            f"NRRD in {space}",
            "",
            one("a.nrrd", lambda space=space: nrrd(space=space)),
            phantom=True,
        )
        for space in SPACES
    ),
    FaultCase(
        "NRRD, packed",
        "",
        one("a.nrrd", lambda: nrrd(payload=gzip.compress(raw_of()), encoding="gzip")),
        phantom=True,
    ),
    FaultCase(
        "NRRD, bzip2",
        "",
        one("a.nrrd", lambda: nrrd(payload=bz2.compress(raw_of()), encoding="bz2")),
        phantom=True,
    ),
    FaultCase(
        "NRRD in text",
        "",
        one("a.nrrd", lambda: nrrd(payload=text_of(paint()), encoding="ascii")),
        phantom=True,
    ),
    FaultCase(
        "NRRD in hexadecimal",
        "",
        one("a.nrrd", lambda: nrrd(payload=raw_of().hex("\n", 40).encode(), encoding="hex")),
        phantom=True,
    ),
    FaultCase(
        "NRRD, big-endian",
        "N20",
        one("a.nrrd", lambda: nrrd(payload=raw_of(BIG), endian="big")),
        phantom=True,
    ),
    FaultCase(
        "NRRD without order of bytes", "", one("a.nrrd", lambda: nrrd(endian=None)), "corrupt"
    ),
    FaultCase(
        "NRRD with lines of DOS",
        "",
        one("a.nrrd", lambda: nrrd(payload=b"").replace(b"\n", b"\r\n") + raw_of()),
        phantom=True,
    ),
    FaultCase("NRRD, cut short", "N01", one("a.nrrd", lambda: nrrd()[:-9]), "truncated"),
    FaultCase(
        "NRRD, packed and cut",
        "N01",
        one("a.nrrd", lambda: nrrd(payload=gzip.compress(raw_of()), encoding="gzip")[:-30]),
        "truncated",
    ),
    FaultCase("NRRD, cut in the header", "N01", one("a.nrrd", lambda: nrrd()[:150]), "truncated"),
    FaultCase(
        "NRRD, packed bits flipped",
        "N02",
        one(
            "a.nrrd", lambda: flipped(nrrd(payload=gzip.compress(raw_of()), encoding="gzip"), -300)
        ),
        "corrupt",
    ),
    FaultCase(
        "NRRD, wrong checksum",
        "N03",
        one("a.nrrd", lambda: flipped(nrrd(payload=gzip.compress(raw_of()), encoding="gzip"), -6)),
        "corrupt",
    ),
    FaultCase(
        "NRRD, bzip2 flipped",
        "N02",
        one("a.nrrd", lambda: flipped(nrrd(payload=bz2.compress(raw_of()), encoding="bz2"), -300)),
        "corrupt",
    ),
    FaultCase(
        "NRRD, an error page",
        "N04",
        one("a.nrrd", lambda: b"<html>404</html>" * 20),
        "not_an_image",
    ),
    FaultCase(
        "NRRD, huge sizes", "N05", one("a.nrrd", lambda: nrrd(sizes="60000 50000 70")), "too_large"
    ),
    FaultCase(
        "NRRD, large sizes", "N05", one("a.nrrd", lambda: nrrd(sizes="1200 1100 1000")), "truncated"
    ),
    FaultCase("NRRD, smaller sizes", "", one("a.nrrd", lambda: nrrd(sizes="11 11 10")), "corrupt"),
    FaultCase("NRRD, sizes of zero", "N07", one("a.nrrd", lambda: nrrd(sizes="0 11 10")), "empty"),
    FaultCase("NRRD, sizes of words", "", one("a.nrrd", lambda: nrrd(sizes="a b c")), "corrupt"),
    FaultCase(
        "NRRD, a bomb",
        "N06",
        one(
            "a.nrrd", lambda: nrrd(payload=gzip.compress(raw_of() + bytes(2**25)), encoding="gzip")
        ),
        "too_large",
    ),
    FaultCase(
        "NRRD, nothing in text",
        "",
        one("a.nrrd", lambda: nrrd(payload=b"", encoding="ascii")),
        "truncated",
    ),
    FaultCase(
        "NRRD, words in text",
        "",
        one("a.nrrd", lambda: nrrd(payload=text_of(paint()).replace(b"1", b"x"), encoding="ascii")),
        "corrupt",
    ),
    FaultCase(
        "NRRD without space",
        "N11",
        one("a.nrrd", lambda: nrrd().replace(b"space: left-posterior-superior\n", b"")),
        fixes=UNKNOWN,
    ),
    FaultCase(
        "NRRD in the space of the scanner",
        "N11",
        one(
            "a.nrrd",
            lambda: nrrd().replace(b"space: left-posterior-superior", b"space: scanner-xyz"),
        ),
        fixes=UNKNOWN,
    ),
    FaultCase(
        "NRRD with spacings alone",
        "N11",
        one(
            "a.nrrd",
            lambda: (
                nrrd()
                .replace(b"space: left-posterior-superior\n", b"")
                .replace(b"space directions: ", b"spacings: 1.5 1.75 2\n#")
                .replace(b"space origin", b"#")
            ),
        ),
        fixes=UNKNOWN,
    ),
    FaultCase(
        "NRRD with centres of cells",
        "",
        one("a.nrrd", lambda: nrrd(centerings="cell cell cell", kinds="domain domain domain")),
        phantom=True,
    ),
    FaultCase(
        "NRRD without voxel size",
        "N14",
        one("a.nrrd", lambda: nrrd().replace(b"space", b"#space")),
        "no_spacing",
    ),
    FaultCase(
        "NRRD in centimetres",
        "N15",
        one("a.nrrd", lambda: nrrd(affine=CENTIMETRES, space_units='"cm" "cm" "cm"')),
        fixes=("units_converted",),
        phantom=True,
    ),
    FaultCase(
        "NRRD in parsecs",
        "N15",
        one("a.nrrd", lambda: nrrd(space_units='"pc" "pc" "pc"')),
        "no_spacing",
    ),
    FaultCase(
        "NRRD, singular",
        "N13",
        one("a.nrrd", lambda: nrrd(space_directions="(1,0,0) (1,0,0) (0,0,2)")),
        "bad_affine",
    ),
    FaultCase(
        "NRRD, two directions for three axes",
        "N13",
        one("a.nrrd", lambda: nrrd(space_directions="(1,0,0) (0,1,0)")),
        "bad_affine",
    ),
    FaultCase(
        "NRRD, slices that lean",
        "N12",
        lean("a.nrrd", nrrd, (1, 2, 0.7)),
        fixes=("shear_resampled",),
        phantom=True,
    ),
    FaultCase(
        "NRRD, a slight lean",
        "N12",
        lean("a.nrrd", nrrd, (1, 2, 0.01)),
        fixes=("affine_orthonormalised",),
        phantom=True,
        tolerance=4.0,
    ),
    FaultCase(
        "NRRD, colours",
        "N19",
        one(
            "a.nrrd",
            lambda: nrrd(
                COLOURS, kinds="RGB-color domain domain domain", space_directions=NONE_FIRST
            ),
        ),
        "not_scalar",
    ),
    FaultCase(
        "NRRD, components without a kind",
        "N19",
        one("a.nrrd", lambda: nrrd(COLOURS, space_directions=NONE_FIRST)),
        "not_scalar",
    ),
    FaultCase("NRRD, blocks", "N19", one("a.nrrd", lambda: nrrd(type="block")), "not_scalar"),
    FaultCase(
        "NRRD, time last",
        "N17",
        one("a.nrrd", lambda: nrrd(series(), space_directions=NONE_LAST)),
        "time_series",
    ),
    FaultCase(
        "NRRD, time last, split",
        "N17",
        one("a.nrrd", lambda: nrrd(series(), space_directions=NONE_LAST)),
        fixes=("frames_split",),
        volumes=3,
        phantom=True,
        options=SPLIT,
        tolerance=4.0,
    ),
    FaultCase(
        "NRRD, list first, split",
        "N17",
        one(
            "a.nrrd",
            lambda: nrrd(
                FRAMES_FIRST, space_directions=NONE_FIRST, kinds="list domain domain domain"
            ),
        ),
        fixes=("frames_split",),
        volumes=3,
        phantom=True,
        options=SPLIT,
        tolerance=4.0,
    ),
    FaultCase(
        "NRRD, list of one",
        "N17",
        one(
            "a.nrrd",
            lambda: nrrd(
                paint()[None], space_directions=NONE_FIRST, kinds="list domain domain domain"
            ),
        ),
        phantom=True,
    ),
    FaultCase(
        "NRRD, a single slice",
        "N18",
        one("a.nrrd", lambda: nrrd(paint()[:, :, :1])),
        "too_few_slices",
    ),
    FaultCase(
        "NRRD, two dimensions",
        "N18",
        one("a.nrrd", lambda: nrrd(paint()[:, :, 0], space_directions="(1,0,0) (0,1,0)")),
        "too_few_slices",
    ),
    FaultCase("NRRD, name not in UTF-8", "N21", named(b"caf\xe9.nrrd", nrrd), phantom=True),
    FaultCase(
        "NRRD, constant",
        "N24",
        one("a.nrrd", lambda: nrrd(np.full(SHAPE, 3, np.int16))),
        "no_content",
    ),
    FaultCase(
        "NRRD with a few NaN",
        "N08",
        one("a.nrrd", lambda: nrrd(holes(0.005))),
        fixes=("non_finite_filled",),
    ),
    FaultCase(
        "NRRD, voxels beside it",
        "",
        files(a__nhdr=lambda: nrrd(payload=b"", data_file="a.raw"), a__raw=raw_of),
        phantom=True,
    ),
    FaultCase(
        "NRRD, voxels below it",
        "",
        files(
            a__nhdr=lambda: nrrd(payload=b"", data_file="./deep/a.raw"), **{"deep/a__raw": raw_of}
        ),
        phantom=True,
    ),
    FaultCase(
        "NRRD, voxels named so that they look like another image",
        "",
        files(a__nhdr=lambda: nrrd(payload=b"", data_file="a.img"), a__img=raw_of),
        phantom=True,
    ),
    FaultCase(
        "NRRD, voxels in another folder",
        "",
        lambda folder: beside(folder, nrrd(payload=b"", data_file="../voxels.raw")),
        "unreadable",
    ),
    FaultCase(
        "NRRD, voxels at an absolute path",
        "",
        lambda folder: beside(folder, nrrd(payload=b"", data_file="/etc/passwd")),
        "unreadable",
    ),
    FaultCase(
        "NRRD, voxels gone",
        "",
        one("a.nhdr", lambda: nrrd(payload=b"", data_file="gone.raw")),
        "unreadable",
    ),
    FaultCase(
        "NRRD, bytes to skip",
        "",
        one("a.nrrd", lambda: nrrd(payload=b"1234567" + raw_of(), byte_skip="7")),
        phantom=True,
    ),
    FaultCase(
        "NRRD, all but the voxels to skip",
        "",
        files(
            a__nhdr=lambda: nrrd(payload=b"", data_file="a.raw", byte_skip="-1"),
            a__raw=lambda: b"header" * 9 + raw_of(),
        ),
        phantom=True,
    ),
    FaultCase(
        "NRRD, lines to skip",
        "",
        one("a.nrrd", lambda: nrrd(payload=b"one\ntwo\n" + raw_of(), line_skip="2")),
        phantom=True,
    ),
    FaultCase(
        "NRRD, packed bytes to skip",
        "",
        one(
            "a.nrrd",
            lambda: nrrd(
                payload=gzip.compress(b"1234567" + raw_of()), encoding="gz", byte_skip="7"
            ),
        ),
        phantom=True,
    ),
]

META = [
    FaultCase("MHA, sound", "", one("a.mha", meta), phantom=True),
    FaultCase(
        "MHA, packed",
        "",
        one("a.mha", lambda: meta(payload=zlib.compress(raw_of()), CompressedData="True")),
        phantom=True,
    ),
    FaultCase(
        "MHA, big-endian",
        "N20",
        one("a.mha", lambda: meta(payload=raw_of(BIG), BinaryDataByteOrderMSB="True")),
        phantom=True,
    ),
    FaultCase(
        "MHA in text",
        "",
        one("a.mha", lambda: meta(payload=text_of(paint()), BinaryData="False")),
        phantom=True,
    ),
    FaultCase("MHA, cut short", "N01", one("a.mha", lambda: meta()[:-9]), "truncated"),
    FaultCase(
        "MHA, packed and cut",
        "N01",
        one("a.mha", lambda: meta(payload=zlib.compress(raw_of()), CompressedData="True")[:-30]),
        "truncated",
    ),
    FaultCase(
        "MHA, packed bits flipped",
        "N02",
        one(
            "a.mha",
            lambda: flipped(meta(payload=zlib.compress(raw_of()), CompressedData="True"), -300),
        ),
        "corrupt",
    ),
    FaultCase(
        "MHA, wrong checksum",
        "N03",
        one(
            "a.mha",
            lambda: flipped(meta(payload=zlib.compress(raw_of()), CompressedData="True"), -2),
        ),
        "corrupt",
    ),
    FaultCase("MHA, empty", "N04", one("a.mha", bytes), "not_an_image"),
    FaultCase(
        "MHA, huge sizes", "N05", one("a.mha", lambda: meta(DimSize="60000 50000 70")), "too_large"
    ),
    FaultCase(
        "MHA, large sizes", "N05", one("a.mha", lambda: meta(DimSize="1200 1100 1000")), "truncated"
    ),
    FaultCase(
        "MHA, a bomb",
        "N06",
        one(
            "a.mha",
            lambda: meta(payload=zlib.compress(raw_of() + bytes(2**25)), CompressedData="True"),
        ),
        "too_large",
    ),
    FaultCase(
        "MHA, two sizes for three axes", "", one("a.mha", lambda: meta(DimSize="12 11")), "corrupt"
    ),
    FaultCase(
        "MHA without end of header", "", one("a.mha", lambda: meta(ElementDataFile=None)), "corrupt"
    ),
    FaultCase(
        "MHA without axes", "N11", one("a.mha", lambda: meta(TransformMatrix=None)), fixes=UNKNOWN
    ),
    FaultCase(
        "MHA without voxel size",
        "N14",
        one("a.mha", lambda: meta(ElementSpacing=None)),
        "no_spacing",
    ),
    FaultCase(
        "MHA with the size of elements",
        "N14",
        one("a.mha", lambda: meta(ElementSpacing=None, ElementSize="1.5 1.75 2")),
        phantom=True,
    ),
    FaultCase(
        "MHA, voxel size zero",
        "N14",
        one("a.mha", lambda: meta(ElementSpacing="0 1.75 2")),
        "no_spacing",
    ),
    FaultCase(
        "MHA, voxel size in words",
        "N14",
        one("a.mha", lambda: meta(ElementSpacing="one two three")),
        "bad_affine",
    ),
    FaultCase(
        "MHA, singular",
        "N13",
        one("a.mha", lambda: meta(TransformMatrix="1 0 0 1 0 0 0 0 1")),
        "bad_affine",
    ),
    FaultCase(
        "MHA, axes that lean",
        "N12",
        lean("a.mha", meta, (1, 2, 0.7)),
        fixes=("shear_resampled",),
        phantom=True,
    ),
    FaultCase(
        "MHA, channels",
        "N19",
        one("a.mha", lambda: meta(payload=raw_of() * 3, ElementNumberOfChannels="3")),
        "not_scalar",
    ),
    FaultCase(
        "MHA, arrays",
        "N19",
        one("a.mha", lambda: meta(ElementType="MET_SHORT_ARRAY")),
        "not_scalar",
    ),
    FaultCase("MHA, time series", "N17", one("a.mha", lambda: meta(series())), "time_series"),
    FaultCase(
        "MHA, time series, first",
        "N17",
        one("a.mha", lambda: meta(series())),
        fixes=("frames_split",),
        phantom=True,
        options=FIRST,
    ),
    FaultCase(
        "MHA, two dimensions", "N18", one("a.mha", lambda: meta(paint()[:, :, 0])), "too_few_slices"
    ),
    FaultCase("MHA, name not in UTF-8", "N21", named(b"caf\xe9.mha", meta), phantom=True),
    FaultCase(
        "MHA, said to be CT",
        "N25",
        one(
            "a.mha",
            lambda: meta(
                np.clip(paint() // 8 + 90, 0, 255).astype(np.uint8), Modality="MET_MOD_CT"
            ),
        ),
        fixes=("intensity_suspect",),
    ),
    FaultCase("MHA, a file a slice by list", "", slices("LIST"), phantom=True),
    FaultCase("MHA, a file a slice by pattern", "", slices("slice%02d.raw 0 9 1"), phantom=True),
    FaultCase("MHA, a pattern that is none", "", slices("slice%02d.raw zero nine"), "corrupt"),
    FaultCase(
        "MHA, voxels beside it",
        "",
        files(a__mhd=lambda: meta(payload=b"", ElementDataFile="a.raw"), a__raw=raw_of),
        phantom=True,
    ),
    FaultCase(
        "MHA, voxels at the end of a file",
        "",
        files(
            a__mhd=lambda: meta(payload=b"", HeaderSize="-1", ElementDataFile="a.raw"),
            a__raw=lambda: b"header" * 9 + raw_of(),
        ),
        phantom=True,
    ),
    FaultCase(
        "MHA, voxels after a header",
        "",
        files(
            a__mhd=lambda: meta(payload=b"", HeaderSize="54", ElementDataFile="a.raw"),
            a__raw=lambda: b"header" * 9 + raw_of(),
        ),
        phantom=True,
    ),
    FaultCase(
        "MHA, voxels in another folder",
        "",
        lambda folder: beside(folder, meta(payload=b"", ElementDataFile="../voxels.raw"), "a.mhd"),
        "unreadable",
    ),
]

CASES = [*NRRD, *META]
