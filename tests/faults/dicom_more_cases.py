"""DICOM files whose header, pixels or kind is at fault: rows D09 to D13 and D15 to D22."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_dicom as fake
import numpy as np
import pydicom
from faults.case import FaultCase
from faults.dicom_series import (
    BOTTOM,
    STEP,
    at_heights,
    in_syntax,
    only,
    series,
    spoilt,
    stray,
    tags,
)
from faults.phantom import AFFINE, SHAPE, centred, paint
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

COUNT = SHAPE[2]
EVEN = [BOTTOM + STEP * number for number in range(COUNT)]
LOWEST = int(paint().min())


def each(change: Callable[[Path], object], **options: Any):
    """Return a writer of a series whose every file is changed as bytes or as a name."""

    def write(folder: Path) -> None:
        for path in series(folder, **options):
            change(path)

    return write


def cut(by: int, number: int = 4):
    """Return a writer of a series with the end of one file cut off."""

    def write(folder: Path) -> None:
        path = series(folder)[number]
        path.write_bytes(path.read_bytes()[:-by])

    return write


def stored_by(change: Callable[[Dataset, np.ndarray], None], **options: Any):
    """Return a writer of a series; ``change`` gets each header and its stored values."""

    def change_one(dataset: Dataset, _: int) -> None:
        change(dataset, np.frombuffer(dataset.PixelData, np.uint16))

    return spoilt(change_one, **options)


def signed(dataset: Dataset, stored: np.ndarray) -> None:
    values = stored.astype(np.int32) + LOWEST
    dataset.PixelData = values.astype(np.int16).tobytes()
    dataset.PixelRepresentation, dataset.RescaleIntercept = 1, "0"


def twelve_bits(dataset: Dataset, stored: np.ndarray) -> None:
    """Draw an overlay into the unused bits, as old scanners do."""
    dataset.BitsStored, dataset.HighBit = 12, 11
    overlay = np.arange(stored.size, dtype=np.uint16) % 3 << 12
    dataset.PixelData = (stored | overlay).tobytes()


def twelve_signed_bits(dataset: Dataset, stored: np.ndarray) -> None:
    """Leave rubbish where the sign of 16 bits would be."""
    values = (stored.astype(np.int32) + LOWEST).astype(np.int16).view(np.uint16) & 0x0FFF
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, 1
    dataset.RescaleIntercept = "0"
    dataset.PixelData = (values | 0xA000).astype(np.uint16).tobytes()


def high_bits(dataset: Dataset, stored: np.ndarray) -> None:
    """Push the values to the top of their words."""
    dataset.BitsStored, dataset.HighBit = 12, 15
    dataset.PixelData = (stored << 4).astype(np.uint16).tobytes()


def thirty_two_bits(dataset: Dataset, stored: np.ndarray) -> None:
    dataset.BitsAllocated = dataset.BitsStored = 32
    dataset.HighBit = 31
    dataset.PixelData = stored.astype(np.uint32).tobytes()


def floating(dataset: Dataset, stored: np.ndarray) -> None:
    del dataset["PixelData"], dataset["HighBit"], dataset["BitsStored"]
    dataset.BitsAllocated = 32
    dataset.FloatPixelData = stored.astype(np.float32).tobytes()


def longer(dataset: Dataset, stored: np.ndarray) -> None:
    """Fill up with a few zero bytes, as some writers do."""
    dataset.PixelData = stored.tobytes() + b"\0\0"


def long_numbers(path: Path) -> None:
    """Write the orientation with more digits than a decimal string may have."""
    raw = path.read_bytes()
    start = raw.index(b"\x20\x00\x37\x00DS")
    length = int.from_bytes(raw[start + 6 : start + 8], "little")
    numbers = raw[start + 8 : start + 8 + length].split(b"\\")
    text = b"\\".join(b"%.19f" % float(number) for number in numbers)
    text += b" " * (len(text) % 2)
    head = raw[start : start + 6] + len(text).to_bytes(2, "little")
    path.write_bytes(raw[:start] + head + text + raw[start + 8 + length :])


def resave(syntax: str) -> Callable[[Path], None]:
    """Return a change of the transfer syntax of unpacked pixels."""

    def change(path: Path) -> None:
        dataset = pydicom.dcmread(path)
        uid = pydicom.uid.UID(syntax)
        if not uid.is_little_endian:
            pixels = np.frombuffer(dataset.PixelData, "<u2").astype(">u2")
            dataset.PixelData = pixels.tobytes()
        dataset.file_meta.TransferSyntaxUID = uid
        endian = {"implicit_vr": uid.is_implicit_VR, "little_endian": uid.is_little_endian}
        plain = pydicom.Dataset(dataset)
        plain.file_meta = dataset.file_meta
        pydicom.dcmwrite(path, plain, enforce_file_format=True, **endian)

    return change


def unknown_syntax(dataset: Dataset) -> None:
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.106"
    dataset.PixelData = pydicom.encaps.encapsulate([b"\0\0"])


def bare(path: Path) -> None:
    """Take away the preamble, the magic word and the meta elements."""
    dataset = pydicom.dcmread(path)
    plain = pydicom.Dataset(dataset)
    pydicom.dcmwrite(path, plain, implicit_vr=True, little_endian=True)


def beside(**values: Any):
    """Return a writer of a sound series with one object of another kind in the same folder."""

    def write(folder: Path) -> None:
        series(folder)
        path = stray(folder, EVEN[-1] + STEP, fake.put(SeriesInstanceUID="1.2.9", **values))
        path.rename(folder / "other.dcm")

    return write


def with_others(folder: Path) -> None:
    """Write a sound series with a report, a segmentation, structures, a dose and more beside it."""
    series(folder)
    kinds = {"SR": "88.33", "SEG": "66.4", "RTSTRUCT": "481.3", "RTDOSE": "481.2"}
    for modality, number in {**kinds, "PR": "11.1", "DOC": "104.1"}.items():
        tags = {
            "SOPClassUID": f"{IMAGE}.{number}",
            "Modality": modality,
            "SeriesInstanceUID": "1.9",
        }
        stray(folder, EVEN[-1] + STEP, fake.put(**tags)).rename(folder / f"{modality}.dcm")


def other(name: str, code: str, **values: Any) -> FaultCase:
    """Return a case of a sound series beside one other object."""
    return FaultCase(name, "D20", beside(**values), code, volumes=1, phantom=True)


def radiograph(**values: Any):
    data = np.random.default_rng(1).integers(0, 4000, (24, 20)).astype(np.int16)
    return spoilt(tags(**values), data=data, affine=np.diag([0.2, 0.2, 1, 1]), modality="xr")


def turned(*columns: int):
    """Return a writer of slices that run along other axes of the body."""
    affine = centred(np.diag([1.5, 1.75, 2.0])[:, columns])
    return spoilt(data=paint(SHAPE, affine), affine=affine)


def jittered() -> list[float]:
    return [height + 0.004 * (-1) ** number for number, height in enumerate(EVEN)]


def clock_of_each(dataset: Dataset, at: int) -> None:
    dataset.AcquisitionTime = dataset.ContentTime = f"10{at:02}{at:02}.{at:03}"
    dataset.AcquisitionNumber = at


def numbered_backwards(dataset: Dataset, at: int) -> None:
    dataset.InstanceNumber = COUNT - at


IMAGE = "1.2.840.10008.5.1.4.1.1"
PLANAR = ("orientation_unknown",)
NO_PLACE = {"ImagePositionPatient": None}
NOT_UNIT = {"ImageOrientationPatient": [0, 0, 0, 0, 1, 0]}

CASES = [
    FaultCase("pixels_cut_short", "D09", cut(20), "truncated"),
    FaultCase("last_header_cut", "D09", cut(700, COUNT - 1), "truncated", volumes=1, phantom=True),
    FaultCase("pixels_missing", "D09", spoilt(tags(PixelData=None)), "truncated"),
    FaultCase("pixels_and_a_bit_more", "D09", stored_by(longer), phantom=True),
    FaultCase("rows_that_are_not_there", "D09", spoilt(tags(Rows=99)), "truncated"),
    FaultCase("rows_that_are_not_told", "D09", spoilt(tags(Rows=5)), "corrupt"),
    FaultCase(
        "frames_that_are_not_there", "D09", spoilt(only(3, fake.put(NumberOfFrames=2))), "truncated"
    ),
    FaultCase("no_pixel_spacing", "D10", spoilt(tags(PixelSpacing=None)), "no_spacing"),
    FaultCase("pixel_spacing_zero", "D10", spoilt(tags(PixelSpacing=[0, 0])), "no_spacing"),
    FaultCase("pixel_spacing_negative", "D10", spoilt(tags(PixelSpacing=[-1, 1])), "no_spacing"),
    FaultCase(
        "spacing_of_the_detector_only",
        "D10",
        spoilt(tags(PixelSpacing=None, ImagerPixelSpacing=[1, 1])),
        "no_spacing",
    ),
    FaultCase("no_position", "D11", spoilt(tags(**NO_PLACE)), "no_geometry"),
    FaultCase("no_position_in_one", "D11", spoilt(only(9, fake.put(**NO_PLACE))), "no_geometry"),
    FaultCase("no_orientation", "D11", spoilt(tags(ImageOrientationPatient=None)), "no_geometry"),
    FaultCase("orientation_of_no_length", "", spoilt(tags(**NOT_UNIT)), "bad_affine"),
    FaultCase("numbers_too_long", "D12", each(long_numbers), phantom=True),
    FaultCase(
        "inverted_ct", "D13", spoilt(tags(PhotometricInterpretation="MONOCHROME1")), "monochrome1"
    ),
    FaultCase(
        "inverted_radiograph",
        "D13",
        radiograph(PhotometricInterpretation="MONOCHROME1"),
        fixes=PLANAR,
    ),
    FaultCase("signed_values", "D15", stored_by(signed), phantom=True),
    FaultCase("overlay_in_unused_bits", "D15", stored_by(twelve_bits), phantom=True),
    FaultCase("rubbish_above_the_sign", "D15", stored_by(twelve_signed_bits), phantom=True),
    FaultCase("values_in_the_high_bits", "D15", stored_by(high_bits), phantom=True),
    FaultCase("values_of_32_bits", "D15", stored_by(thirty_two_bits), phantom=True),
    FaultCase("floating_values", "D15", stored_by(floating), phantom=True),
    FaultCase("no_sign_told", "D15", spoilt(tags(PixelRepresentation=None)), phantom=True),
    FaultCase("run_lengths", "D16", in_syntax(RLELossless), phantom=True),
    FaultCase("jpeg_2000", "D16", in_syntax(JPEG2000Lossless), phantom=True),
    FaultCase("jpeg_lossless", "D16", in_syntax(JPEGLosslessSV1), phantom=True),
    FaultCase("jpeg_ls", "D16", in_syntax(JPEGLSLossless), phantom=True),
    FaultCase(
        "codec_nobody_has",
        "D16",
        spoilt(lambda dataset, _: unknown_syntax(dataset)),
        "codec_missing",
        detail='pip install "medssl[dicom]"',
    ),
    FaultCase(
        "lossy", "D17", spoilt(tags(LossyImageCompression="01")), fixes=("lossy",), phantom=True
    ),
    FaultCase("big_endian", "D19", each(resave("1.2.840.10008.1.2.2")), phantom=True),
    FaultCase("deflated", "D19", each(resave("1.2.840.10008.1.2.1.99")), phantom=True),
    FaultCase("implicit", "D19", each(resave("1.2.840.10008.1.2")), phantom=True),
    other("localizer", "localizer", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
    other("projection", "derived", ImageType=["DERIVED", "SECONDARY", "AXIAL", "MIP"]),
    other("reformat", "derived", ImageType=["DERIVED", "PRIMARY", "MPR"]),
    other("screen_capture", "not_image_object", SOPClassUID=f"{IMAGE}.7", Modality="OT"),
    FaultCase("other_objects", "D20", with_others, "not_image_object", volumes=1, phantom=True),
    other("colours", "not_scalar", PhotometricInterpretation="RGB", SamplesPerPixel=3),
    FaultCase("letters_in_the_pixels", "D21", spoilt(tags(BurnedInAnnotation="YES")), "burned_in"),
    FaultCase(
        "no_suffix", "D22", each(lambda path: path.rename(path.with_suffix(""))), phantom=True
    ),
    FaultCase(
        "other_suffix",
        "D22",
        each(lambda path: path.rename(path.with_suffix(".000"))),
        phantom=True,
    ),
    FaultCase("no_preamble", "D22", each(bare), phantom=True),
    FaultCase("sagittal", "", turned(1, 2, 0), phantom=True),
    FaultCase("coronal_left_handed", "", turned(0, 2, 1), phantom=True),
    FaultCase("clock_of_each_slice", "", spoilt(clock_of_each), phantom=True),
    FaultCase("numbered_backwards", "", spoilt(numbered_backwards), phantom=True),
    FaultCase("not_numbered", "", spoilt(tags(InstanceNumber=None)), phantom=True),
    FaultCase("heights_that_jitter", "", at_heights(jittered()), phantom=True),
    FaultCase("overlapping_slices", "", spoilt(tags(SliceThickness="5")), phantom=True),
    FaultCase(
        "windows", "", spoilt(tags(WindowCenter=[40, 400], WindowWidth=[80, 1500])), phantom=True
    ),
    FaultCase("no_patient", "", spoilt(tags(PatientID="")), phantom=True),
    FaultCase("slope_zero", "", spoilt(tags(RescaleSlope="0")), "no_content"),
    FaultCase("same_instance_uid", "", spoilt(tags(SOPInstanceUID="1.2.3.4")), phantom=True),
    FaultCase("radiograph", "", radiograph(), fixes=PLANAR),
    FaultCase(
        "radiograph_without_spacing",
        "D10",
        radiograph(PixelSpacing=None, ImagerPixelSpacing=None),
        "no_spacing",
    ),
    FaultCase(
        "affine_of_metres", "", spoilt(affine=AFFINE * [[1e2], [1e2], [1e2], [1]]), "no_spacing"
    ),
]
