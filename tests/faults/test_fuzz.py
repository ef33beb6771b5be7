"""One byte changed, or all after it gone: a verdict of the closed list, or exact data.

Exact data, for a file without a checksum, are what its bytes now say. That is compared with what
another library makes of the same bytes, where one reads them without guessing.
"""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_dicom
import nibabel as nib
import numpy as np
import pytest
from faults.itk_cases import meta, nrrd
from faults.nifti_cases import content, packed, pair
from faults.phantom import paint
from faults.planar_cases import PIXELS, saved

from medssl.errors import VolumeReadError
from medssl.io.read import read_header, read_volume
from medssl.io.sandbox import Sandbox, SandboxFault

CODES = {
    *("truncated", "corrupt", "not_an_image", "too_large", "empty", "non_finite", "bad_affine"),
    *("qform_sform_conflict", "no_spacing", "no_geometry", "not_scalar", "time_series"),
    *("unreadable", "ambiguous_stack", "missing_slices", "duplicate_slices", "mixed_orientation"),
    *("codec_missing", "monochrome1", "burned_in", "localizer", "derived", "not_image_object"),
    "too_few_slices",
}
CHECKED = {"nii.gz", "nrrd.gz"}
"""Formats whose checksum covers every byte of the voxels."""
SECONDS = 30.0
"""Most that one damaged file may take, and :data:`BYTES` the most memory."""
BYTES = 2 * 2**30
SUFFIXES = {"2.nii": "nii", "nrrd.gz": "nrrd"}
SMALL = (6, 5, 7)
AFFINE = np.diag([1.5, 1.75, 2.0, 1.0])


def dicom(folder: Path) -> bytes:
    return fake_dicom.write_ct(folder)[0].read_bytes()


def analyze(folder: Path) -> bytes:
    pair()(folder)
    return (folder / "scan.hdr").read_bytes()


MAKERS: dict[str, Callable[[Path], bytes]] = {
    "nii": lambda _: content(paint(SMALL, AFFINE), AFFINE),
    "nii.gz": lambda _: packed(content(paint(SMALL, AFFINE), AFFINE)),
    "2.nii": lambda _: content(paint(SMALL, AFFINE), AFFINE, kind=nib.Nifti2Image),
    "hdr": analyze,
    "nrrd": lambda _: nrrd(paint(SMALL, AFFINE), AFFINE),
    "nrrd.gz": lambda _: nrrd(
        payload=gzip.compress(paint().tobytes(order="F"), mtime=0), encoding="gzip"
    ),
    "mha": lambda _: meta(paint(SMALL, AFFINE), AFFINE),
    "dcm": dicom,
    "png": lambda _: saved("PNG", PIXELS),
    "tif": lambda _: saved("TIFF", PIXELS),
    "jpg": lambda _: saved("JPEG", PIXELS),
}


def outcome(path: Path) -> tuple[str, Any]:
    """Read a damaged file; runs in a child process, where an unforeseen error must show too."""
    try:
        header, volume = read_header(path), read_volume(path)
    except VolumeReadError as error:
        return "verdict", error.code
    except Exception as error:  # noqa: BLE001 - what no reader foresaw is what is looked for
        return "surprise", f"{type(error).__name__}: {error}"
    sound = volume.data.shape == header.shape and str(volume.data.dtype) == header.dtype
    sound = sound and np.isfinite(volume.data).all() and np.isfinite(volume.affine).all()
    return ("data", volume) if sound else ("surprise", "header and volume differ")


def damaged(whole: bytes, count: int) -> list[tuple[str, bytes]]:
    """Return the file with one byte changed, and cut off, at up to ``count`` places each."""
    places = np.unique(np.linspace(0, len(whole) - 1, count).astype(int))
    values = np.random.default_rng(0).integers(1, 256, len(places))
    flips = [
        (f"flip {at}", whole[:at] + bytes([whole[at] ^ int(by)]) + whole[at + 1 :])
        for at, by in zip(places, values, strict=True)
    ]
    return [*flips, *((f"cut {at}", whole[:at]) for at in places)]


def fuzz(name: str, folder: Path, count: int) -> None:
    whole = MAKERS[name](folder)
    original = folder / f"scan.{SUFFIXES.get(name, name)}"
    original.write_bytes(whole)
    right = read_volume(original)
    versions = damaged(whole, count)
    paths = []
    for number, (_, changed) in enumerate(versions):
        place = folder / str(number)
        place.mkdir()
        paths.append(place / original.name)
        paths[-1].write_bytes(changed)
        if name == "hdr":
            (place / "scan.img").symlink_to(folder / "scan.img")
    with Sandbox(memory_bytes=BYTES, seconds=SECONDS) as sandbox:
        outcomes = list(sandbox.map(outcome, paths))
    for (what, _), path, found in zip(versions, paths, outcomes, strict=True):
        assert not isinstance(found, SandboxFault), (name, what, found)
        kind, value = found
        if kind == "verdict":
            assert value in CODES, (name, what, value)
            continue
        assert kind == "data", (name, what, value)
        if name in CHECKED:
            assert np.array_equal(value.data, right.data), (name, what)
            continue
        assert_as_others_read(name, what, path, value)


def assert_as_others_read(name: str, what: str, path: Path, volume: Any) -> None:
    """Compare with nibabel, or with the plain bytes, whichever knows the format."""
    if name in ("nii", "2.nii", "hdr") and not what.startswith("cut"):
        try:
            with warnings.catch_warnings(action="ignore"):
                image = nib.load(path)
                values = np.asanyarray(image.dataobj)
        except Exception:  # noqa: BLE001 - the other library refuses what we may read
            return
        if "shear_resampled" not in volume.fixes and values.size == volume.data.size:
            assert np.allclose(
                values.reshape(volume.data.shape, order="F"), volume.data, equal_nan=True
            ), what


@pytest.mark.parametrize("name", MAKERS)
def test_damage_ends_in_a_verdict_or_in_exact_data(name, tmp_path):
    fuzz(name, tmp_path, 25)


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
def test_damage_at_500_places_ends_in_a_verdict_or_in_exact_data(name, tmp_path):
    fuzz(name, tmp_path, 500)
