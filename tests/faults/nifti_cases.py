"""NIfTI and Analyze with one fault each: rows N01 to N25, and more."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from faults.case import FaultCase
from faults.phantom import AFFINE, SHAPE, centred, paint

from medssl.cohort.admit import Policy
from medssl.io.contract import ReadRules

SPLIT = Policy(rules=ReadRules(time_series="split"))
FIRST = Policy(rules=ReadRules(time_series="first"))
CT = Policy(modality="ct")

STRAIGHT = np.diag([1.5, 1.75, 2.0])
ROOMY = (18, 17, 16)
"""Large enough that the known points stay inside when axes lean."""

Spoil = Callable[[bytes], bytes]


def leaning(*leans: tuple[int, int, float]) -> np.ndarray:
    """Return an affine whose axes lean by the given millimetres a voxel."""
    axes = STRAIGHT.copy()
    for row, column, by in leans:
        axes[row, column] = by
    return centred(axes, ROOMY)


def content(
    data: np.ndarray | None = None,
    affine: np.ndarray = AFFINE,
    *,
    kind: Any = nib.Nifti1Image,
    order: str = "<",
    **fields: Any,
) -> bytes:
    """Return a NIfTI file whose header then gets fields that nibabel would refuse or mend."""
    values = paint() if data is None else data
    header = kind.header_class(endianness=order)
    header.set_data_dtype(values.dtype)
    image = kind(values, affine, header)
    image.header.set_xyzt_units("mm")
    raw = bytearray(image.to_bytes())
    size = kind.header_class.sizeof_hdr
    edited = kind.header_class(bytes(raw[:size]), endianness=order, check=False)
    for name, value in fields.items():
        edited[name] = value
    return bytes(edited.binaryblock + raw[size:])


def packed(raw: bytes) -> bytes:
    """Return bytes as gzip packs them, the same at any time."""
    return gzip.compress(raw, 6, mtime=0)


def file(name: str, make: Callable[[], bytes]) -> Callable[[Path], None]:
    """Return a writer of one file."""
    return lambda folder: (folder / name).write_bytes(make()) and None


def nii(**options: Any) -> Callable[[Path], None]:
    """Return a writer of ``scan.nii``; options as for :func:`content`."""
    return file("scan.nii", lambda: content(**options))


def flipped(raw: bytes, position: int, bits: int = 0xFF) -> bytes:
    """Return bytes of which one is changed."""
    position %= len(raw)
    return raw[:position] + bytes([raw[position] ^ bits]) + raw[position + 1 :]


def holes(share: float, value: float = np.nan) -> np.ndarray:
    """Return the phantom as floats with a share of its values lost, those of one corner first."""
    data = paint().astype(np.float32)
    data.reshape(-1)[: max(1, int(share * data.size))] = value
    return data


def series(frames: int = 3) -> np.ndarray:
    """Return the phantom several times over; the values of later ones differ a little."""
    return np.stack([paint() + number for number in range(frames)], axis=3)


def pair(
    *, of_nifti: bool = False, packed_too: bool = False, **fields: Any
) -> Callable[[Path], None]:
    """Return a writer of ``scan.hdr`` and ``scan.img``."""

    def write(folder: Path) -> None:
        image: Any = (nib.Nifti1Pair if of_nifti else nib.AnalyzeImage)(paint(), AFFINE)
        nib.save(image, folder / "scan.img")
        header = bytearray((folder / "scan.hdr").read_bytes())
        edited = type(image.header)(bytes(header[:348]), check=False)
        for name, value in fields.items():
            edited[name] = value
        (folder / "scan.hdr").write_bytes(edited.binaryblock + header[348:])
        for name in ("scan.hdr", "scan.img") if packed_too else ():
            raw = (folder / name).read_bytes()
            (folder / name).unlink()
            (folder / f"{name}.gz").write_bytes(packed(raw))

    return write


def without(write: Callable[[Path], None], name: str) -> Callable[[Path], None]:
    """Return a writer that leaves one of the files out."""

    def wrapped(folder: Path) -> None:
        write(folder)
        (folder / name).unlink()

    return wrapped


def also(write: Callable[[Path], None], name: str, extra: bytes) -> Callable[[Path], None]:
    """Return a writer that adds a file."""

    def wrapped(folder: Path) -> None:
        write(folder)
        (folder / name).write_bytes(extra)

    return wrapped


def with_voxels_at(offset: int, declared: float) -> bytes:
    """Return a file whose voxels start somewhere and whose header says somewhere else."""
    raw = content(vox_offset=declared)
    return raw[:348] + b"\0" * (offset - 348) + raw[352:]


def pipe(folder: Path) -> None:
    """Put a pipe and a link in a circle beside a sound image."""
    nii()(folder)
    os.mkfifo(folder / "pipe.nii")


def link(folder: Path) -> None:
    """Put links that lead in a circle beside a sound image."""
    nii()(folder)
    (folder / "deep").mkdir()
    (folder / "deep" / "circle").symlink_to(folder, target_is_directory=True)
    (folder / "lost.nii").symlink_to(folder / "nowhere.nii")


def hidden(folder: Path) -> None:
    """Put what other systems leave behind beside a sound image."""
    (folder / "scan.nii.nii.gz").write_bytes(packed(content()))
    for name in ("._scan.nii.gz", ".DS_Store", "Thumbs.db", ".hidden.nii"):
        (folder / name).write_bytes(b"\0\5\x16\7 of a Macintosh")


def odd_name(folder: Path) -> None:
    """Write a file whose name is Latin-1."""
    (folder / os.fsdecode(b"Mu\xdfter.nii")).write_bytes(content())


HUGE = [3, 32000, 32000, 32000, 1, 1, 1, 1]
TWO_PARTS = content()
NO_FORMS = {"sform_code": 0, "qform_code": 0}
Q_ONLY = {"sform_code": 0, "qform_code": 1}

CASES = [
    FaultCase("sound", "", nii(), phantom=True),
    FaultCase("cut short", "N01", file("a.nii", lambda: content()[:-100]), "truncated"),
    FaultCase(
        "packed and cut", "N01", file("a.nii.gz", lambda: packed(content())[:-100]), "truncated"
    ),
    FaultCase("cut in the header", "N01", file("a.nii", lambda: content()[:200]), "truncated"),
    FaultCase(
        "packed bits flipped",
        "N02",
        file("a.nii.gz", lambda: flipped(packed(content()), 900)),
        "corrupt",
    ),
    FaultCase(
        "wrong checksum", "N03", file("a.nii.gz", lambda: flipped(packed(content()), -6)), "corrupt"
    ),
    FaultCase(
        "wrong length at the end",
        "N03",
        file("a.nii.gz", lambda: flipped(packed(content()), -2)),
        "corrupt",
    ),
    FaultCase("empty file", "N04", file("a.nii.gz", bytes), "not_an_image", detail="empty"),
    FaultCase(
        "error page",
        "N04",
        file("a.nii.gz", lambda: b"<html>404 Not Found</html>" * 20),
        "not_an_image",
    ),
    FaultCase(
        "packed error page",
        "N04",
        file("a.nii.gz", lambda: packed(b"<html>404</html>" * 40)),
        "not_an_image",
    ),
    FaultCase("huge dims", "N05", nii(dim=HUGE), "too_large"),
    FaultCase(
        "large dims in a small file", "N05", nii(dim=[3, 1200, 1200, 1200, 1, 1, 1, 1]), "truncated"
    ),
    FaultCase(
        "large dims in a small packed file",
        "N05",
        file("a.nii.gz", lambda: packed(content(dim=[3, 1200, 1200, 1200, 1, 1, 1, 1]))),
        "truncated",
    ),
    FaultCase(
        "a bomb behind the voxels",
        "N06",
        file("a.nii.gz", lambda: packed(content() + bytes(2**25))),
        "too_large",
    ),
    FaultCase(
        "a volume of zeros, packed a thousandfold",
        "N06",
        file("a.nii.gz", lambda: packed(content(np.zeros((256, 256, 128), np.int16)))),
        "no_content",
    ),
    FaultCase("no voxels along x", "N07", nii(dim=[3, 0, 11, 10, 1, 1, 1, 1]), "empty"),
    FaultCase("a negative number of voxels", "N07", nii(dim=[3, -12, 11, 10, 1, 1, 1, 1]), "empty"),
    FaultCase("no axes", "N07", nii(dim=[0, 12, 11, 10, 1, 1, 1, 1]), "not_an_image"),
    FaultCase("eight axes", "N07", nii(dim=[8, 12, 11, 10, 1, 1, 1, 1]), "not_an_image"),
    FaultCase("a few NaN", "N08", nii(data=holes(0.005)), fixes=("non_finite_filled",)),
    FaultCase(
        "one infinite value", "N08", nii(data=holes(0, np.inf)), fixes=("non_finite_filled",)
    ),
    FaultCase("many NaN", "N08", nii(data=holes(0.2)), "non_finite"),
    FaultCase("nothing but NaN", "N08", nii(data=holes(1.0)), "non_finite"),
    FaultCase("slope zero", "N09", nii(scl_slope=0.0, scl_inter=5.0), phantom=True),
    FaultCase("slope NaN", "N09", nii(scl_slope=np.nan, scl_inter=5.0), phantom=True),
    FaultCase("slope infinite", "N09", nii(scl_slope=np.inf), phantom=True),
    FaultCase("intercept NaN", "N09", nii(scl_slope=1.0, scl_inter=np.nan), phantom=True),
    FaultCase(
        "shifted values",
        "N09",
        nii(data=(paint() + 1024).astype(np.uint16), scl_slope=1.0, scl_inter=-1024.0),
        phantom=True,
    ),
    FaultCase("scaled values", "N09", nii(data=paint() * 4, scl_slope=0.25), phantom=True),
    FaultCase("values beyond all numbers", "N09", nii(scl_slope=3e38, scl_inter=1.0), "non_finite"),
    FaultCase(
        "qform and sform apart", "N10", nii(qform_code=1, qoffset_x=25.0), "qform_sform_conflict"
    ),
    FaultCase(
        "qform flipped",
        "N10",
        nii(qform_code=1, pixdim=[-1, 1.5, 1.75, 2, 1, 1, 1, 1]),
        "qform_sform_conflict",
    ),
    FaultCase(
        "qform and sform nearly the same",
        "N10",
        nii(qform_code=1, qoffset_x=AFFINE[0, 3] + 0.4),
        phantom=True,
    ),
    FaultCase("qform alone", "N10", nii(**Q_ONLY), phantom=True),
    FaultCase(
        "qform alone, qfac zero",
        "N10",
        nii(**Q_ONLY, pixdim=[0, 1.5, 1.75, 2, 1, 1, 1, 1]),
        phantom=True,
    ),
    FaultCase("qform no rotation", "N10", nii(**Q_ONLY, quatern_b=3.0), "bad_affine"),
    FaultCase("qform not a number", "N10", nii(**Q_ONLY, quatern_b=np.nan), "bad_affine"),
    FaultCase("no orientation", "N11", nii(**NO_FORMS), fixes=("orientation_unknown",)),
    FaultCase(
        "a slight lean",
        "N12",
        nii(affine=centred([[1.5, 0.01, 0], [0, 1.75, 0], [0, 0, 2]])),
        fixes=("affine_orthonormalised",),
        phantom=True,
    ),
    FaultCase(
        "slices that lean",
        "N12",
        nii(data=paint(ROOMY, leaning((1, 2, 0.7))), affine=leaning((1, 2, 0.7))),
        fixes=("shear_resampled",),
        phantom=True,
    ),
    FaultCase(
        "all axes lean",
        "N12",
        nii(
            data=paint(ROOMY, leaning((0, 1, 0.3), (1, 2, 0.4), (0, 2, -0.3))),
            affine=leaning((0, 1, 0.3), (1, 2, 0.4), (0, 2, -0.3)),
        ),
        fixes=("shear_resampled",),
        phantom=True,
        tolerance=4.0,
    ),
    FaultCase(
        "axes nearly in one plane",
        "N12",
        nii(srow_z=[0, 0.1, 0.1, 0], srow_y=[0, 1.75, 1.9, 0]),
        "bad_affine",
    ),
    FaultCase("singular affine", "N13", nii(srow_x=[0, 0, 0, 0]), "bad_affine"),
    FaultCase("two axes alike", "N13", nii(srow_x=[1, 1, 0, 0], srow_y=[1, 1, 0, 0]), "bad_affine"),
    FaultCase("affine not a number", "N13", nii(srow_y=[np.nan, 1, 0, 0]), "bad_affine"),
    FaultCase(
        "voxel size zero", "N14", nii(pixdim=[1, 0, 1.75, 2, 1, 1, 1, 1], **NO_FORMS), "no_spacing"
    ),
    FaultCase(
        "voxel size not a number", "N14", nii(pixdim=[1, 1.5, np.nan, 2, 1, 1, 1, 1]), "no_spacing"
    ),
    FaultCase(
        "voxel size infinite", "N14", nii(pixdim=[1, 1.5, 1.75, np.inf, 1, 1, 1, 1]), "no_spacing"
    ),
    FaultCase(
        "voxel size negative", "N14", nii(pixdim=[1, -1.5, 1.75, 2, 1, 1, 1, 1]), phantom=True
    ),
    FaultCase(
        "voxel size negative and qform",
        "N14",
        nii(**Q_ONLY, pixdim=[1, -1.5, 1.75, 2, 1, 1, 1, 1]),
        "bad_affine",
    ),
    FaultCase(
        "metres",
        "N15",
        nii(affine=AFFINE * [[1e-3], [1e-3], [1e-3], [1]], xyzt_units=1),
        fixes=("units_converted",),
        phantom=True,
    ),
    FaultCase(
        "microns",
        "N15",
        nii(affine=AFFINE * [[1e3], [1e3], [1e3], [1]], xyzt_units=3),
        fixes=("units_converted",),
        phantom=True,
    ),
    FaultCase("no unit", "N15", nii(xyzt_units=0), phantom=True),
    FaultCase("unknown unit", "N15", nii(xyzt_units=5), "no_spacing"),
    FaultCase(
        "metres said to be millimetres",
        "N15",
        nii(affine=AFFINE * [[1e-3], [1e-3], [1e-3], [1]]),
        "no_spacing",
    ),
    FaultCase("bad magic", "N16", nii(magic=b"xyz"), "not_an_image"),
    FaultCase("magic of a pair", "N16", nii(magic=b"ni1"), "corrupt"),
    FaultCase("time series", "N17", nii(data=series()), "time_series"),
    FaultCase(
        "time series, first",
        "N17",
        nii(data=series()),
        fixes=("frames_split",),
        phantom=True,
        options=FIRST,
    ),
    FaultCase(
        "time series, split",
        "N17",
        nii(data=series()),
        fixes=("frames_split",),
        volumes=3,
        phantom=True,
        options=SPLIT,
        tolerance=4.0,
    ),
    FaultCase(
        "time series, split, packed and cut",
        "N17",
        file("a.nii.gz", lambda: packed(content(series()))[:-40]),
        "truncated",
        options=SPLIT,
    ),
    FaultCase(
        "time series, first, cut later",
        "N17",
        file("a.nii", lambda: content(series())[:-40]),
        "truncated",
        options=FIRST,
    ),
    FaultCase("time series of one", "N17", nii(data=paint()[..., None]), phantom=True),
    FaultCase(
        "time series of one, split",
        "N17",
        nii(data=paint()[..., None]),
        phantom=True,
        options=SPLIT,
    ),
    FaultCase(
        "ones after the third axis",
        "N17",
        nii(data=paint()[..., None, None, None, None]),
        phantom=True,
    ),
    FaultCase(
        "vectors",
        "N17",
        nii(data=np.stack([paint()] * 3, axis=3)[..., None, :]),
        "not_scalar",
        options=SPLIT,
    ),
    FaultCase(
        "vectors by intent",
        "N17",
        nii(data=series(), intent_code=1007),
        "not_scalar",
        options=SPLIT,
    ),
    FaultCase("two dimensions", "N18", nii(data=paint()[:, :, 0]), "too_few_slices"),
    FaultCase("a single slice", "N18", nii(data=paint()[:, :, :1]), "too_few_slices"),
    FaultCase("one dimension", "N18", nii(dim=[1, 1320, 1, 1, 1, 1, 1, 1]), "too_few_slices"),
    FaultCase(
        "a single slice, said to be a radiograph",
        "N18",
        nii(data=paint((12, 11, 1))[:, :, 0]),
        options=Policy(modality="xr"),
    ),
    FaultCase(
        "colours",
        "N19",
        nii(data=np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])),
        "not_scalar",
    ),
    FaultCase("complex numbers", "N19", nii(data=paint().astype(np.complex64)), "not_scalar"),
    FaultCase("unknown type", "N19", nii(datatype=4242), "corrupt"),
    FaultCase("numbers of 128 bits", "N19", nii(datatype=1536, bitpix=128), "corrupt"),
    FaultCase("single bits", "N19", nii(datatype=1, bitpix=1), "corrupt"),
    FaultCase("big-endian", "N20", nii(order=">"), phantom=True),
    FaultCase("version 2", "N20", nii(kind=nib.Nifti2Image), phantom=True),
    FaultCase("version 2, big-endian", "N20", nii(kind=nib.Nifti2Image, order=">"), phantom=True),
    FaultCase("name not in UTF-8", "N21", odd_name, phantom=True),
    FaultCase("a pipe beside it", "N22", pipe, "unreadable", volumes=1, phantom=True),
    FaultCase(
        "links in a circle and to nowhere", "N22", link, "unreadable", volumes=1, phantom=True
    ),
    FaultCase("hidden files beside it", "N23", hidden, phantom=True),
    FaultCase("constant", "N24", nii(data=np.full(SHAPE, 7, np.int16)), "no_content"),
    FaultCase(
        "all air",
        "N24",
        nii(data=np.random.default_rng(0).integers(-1010, -990, SHAPE).astype(np.int16)),
        "no_content",
        options=CT,
    ),
    FaultCase("a mask", "N24", nii(data=(paint() > 100).astype(np.uint8)), "not_image_object"),
    FaultCase(
        "CT in 0 to 255",
        "N25",
        nii(data=np.clip((paint() + 1000) // 8, 0, 255).astype(np.uint8)),
        fixes=("intensity_suspect",),
        options=CT,
    ),
    FaultCase(
        "CT without its offset",
        "N25",
        nii(data=np.clip(paint() + 1024, 0, None).astype(np.int16)),
        fixes=("intensity_suspect",),
        options=CT,
    ),
    FaultCase("CT as it should be", "N25", nii(), phantom=True, options=CT),
    # Where the voxels start
    FaultCase(
        "voxels start at zero, after 352",
        "",
        file("a.nii", lambda: with_voxels_at(352, 0)),
        phantom=True,
    ),
    FaultCase(
        "voxels start at zero, after 348",
        "",
        file("a.nii", lambda: with_voxels_at(348, 0)),
        phantom=True,
    ),
    FaultCase(
        "voxels start at zero, packed",
        "",
        file("a.nii.gz", lambda: packed(with_voxels_at(352, 0))),
        phantom=True,
    ),
    FaultCase("voxels start in the header", "", nii(vox_offset=100), "corrupt"),
    FaultCase("voxels start before the file", "", nii(vox_offset=-352), "corrupt"),
    FaultCase("voxels start nowhere", "", nii(vox_offset=np.nan), "corrupt"),
    FaultCase("voxels start beyond the end", "", nii(vox_offset=1e6), "truncated"),
    FaultCase(
        "voxels start later", "", file("a.nii", lambda: with_voxels_at(1024, 1024)), phantom=True
    ),
    FaultCase(
        "fewer voxels declared than there are", "", nii(dim=[3, 11, 11, 10, 1, 1, 1, 1]), "corrupt"
    ),
    FaultCase(
        "padded with zeros", "", file("a.nii", lambda: content() + bytes(4096)), phantom=True
    ),
    # Types and containers
    *(
        FaultCase(f"values of {kind}", "", nii(data=paint().astype(kind)), phantom=True)
        for kind in ("int32", "int64", "float32", "float64")
    ),
    *(
        FaultCase(
            f"values of {kind}", "", nii(data=np.clip(paint() // 8 + 90, 1, 250).astype(kind))
        )
        for kind in ("uint8", "uint16", "uint32", "uint64")
    ),
    FaultCase(
        "packed without saying so", "", file("a.nii", lambda: packed(content())), phantom=True
    ),
    FaultCase("not packed but named so", "", file("a.nii.gz", content), phantom=True),
    FaultCase(
        "packed in two parts",
        "",
        file("a.nii.gz", lambda: packed(TWO_PARTS[:1000]) + packed(TWO_PARTS[1000:])),
        phantom=True,
    ),
    FaultCase(
        "packed, with rubbish after",
        "",
        file("a.nii.gz", lambda: packed(content()) + b"rubbish"),
        "corrupt",
    ),
    # Header and voxels in two files
    FaultCase("Analyze", "", pair(), fixes=("orientation_unknown",)),
    FaultCase("Analyze, packed", "", pair(packed_too=True), fixes=("orientation_unknown",)),
    FaultCase(
        "Analyze with the file of SPM",
        "",
        also(pair(), "scan.mat", b"MATLAB 5.0"),
        fixes=("orientation_unknown",),
    ),
    FaultCase(
        "Analyze without voxels", "", without(pair(), "scan.img"), "unreadable", detail="voxels"
    ),
    FaultCase(
        "Analyze without header", "", without(pair(), "scan.hdr"), "unreadable", detail="header"
    ),
    FaultCase("Analyze of no size", "", pair(pixdim=[0] * 8), "no_spacing"),
    FaultCase(
        "Analyze, header of something else",
        "",
        also(pair(), "scan.hdr", b"ENVI\nsamples = 12\nlines = 11\n"),
        "not_an_image",
    ),
    FaultCase("NIfTI in two files", "", pair(of_nifti=True), phantom=True),
    FaultCase("NIfTI in two files, packed", "", pair(of_nifti=True, packed_too=True), phantom=True),
    FaultCase(
        "NIfTI in two files, cut",
        "",
        also(pair(of_nifti=True), "scan.img", paint().tobytes(order="F")[:-8]),
        "truncated",
    ),
    FaultCase(
        "NIfTI in two files, more in it",
        "",
        pair(of_nifti=True, dim=[3, 11, 11, 10, 1, 1, 1, 1]),
        "corrupt",
    ),
]
