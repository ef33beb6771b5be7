"""pydicom's own collection of awkward files: all earn a verdict, and both ways of reading agree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
from pydicom.data import get_testdata_files

from medssl.errors import VolumeReadError
from medssl.io.dicom_headers import DAMAGE, is_dicom, leniently, read_dicom_header
from medssl.io.dicom_pixels import read_file_pixels
from medssl.io.dicom_series import FoundVolume, read_found, sort_into_volumes

FILES = [path for path in map(Path, get_testdata_files()) if path.is_file()]


def verdict(path: Path) -> str:
    """Return the code of the first verdict on a file, or the shape of its first volume."""
    try:
        (found, *_) = sort_into_volumes([read_dicom_header(path)])
        if isinstance(found, FoundVolume):
            return str(read_found(found).data.shape)
    except VolumeReadError as error:
        return error.code
    return found.code


def test_every_file_of_pydicom_earns_a_verdict():
    verdicts = {path.name: verdict(path) for path in FILES}
    assert len(FILES) > 150
    assert verdicts["CT_small.dcm"] == "(128, 128, 1)"
    assert verdicts["693_J2KI.dcm"] == "(512, 512, 1)"
    assert verdicts["MR_small.dcm"] == verdicts["MR_truncated.dcm"] == "derived"
    assert verdicts["ExplVR_BigEndNoMeta.dcm"] == "not_image_object"
    assert verdicts["rtplan.dcm"] == verdicts["DICOMDIR"] == "not_image_object"
    assert verdicts["rtplan_truncated.dcm"] == "truncated"


def test_values_are_those_of_pydicom():
    """Whether admitted or not, as little and big endian, packed and plain, padded and not."""
    compared = set()
    for path in FILES:
        try:
            header = read_dicom_header(path)
        except VolumeReadError:
            continue
        if (
            "truncated" in path.name
            or not header.frames
            or header.samples > 1
            or not header.pixels.exist
        ):
            continue
        with leniently():
            expected = pydicom.dcmread(path, force=True).pixel_array
        found = read_file_pixels(path, header.pixels, {0}).stored[0]
        assert np.array_equal(found, expected.reshape(-1, *found.shape)[0]), path.name
        compared.add(header.syntax)
    assert len(compared) >= 6


def test_walking_through_a_header_finds_what_pydicom_finds():
    from medssl.io import dicom_headers as headers

    compared = 0
    for path in FILES:
        if not is_dicom(path):
            continue
        try:
            walked = headers.walk_header(path)
        except (headers.UnusualEncodingError, VolumeReadError):
            continue
        with leniently():
            try:
                slow = headers._header_by_pydicom(path)
            except (VolumeReadError, *DAMAGE):
                continue
        fast = headers._described(path, walked)
        same_place = {"offset": -1, "length": -1, "floating": slow.pixels.floating}
        fast = replace(fast, pixels=fast.pixels._replace(**same_place))
        assert fast == slow, path.name
        compared += 1
    assert compared > 100
