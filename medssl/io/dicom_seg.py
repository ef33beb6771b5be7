"""Masks as DICOM SEG: one file that a viewer lays over the series it was made from.

The grid comes from the headers of the series and nowhere else, so that a mask can't be mirrored
against its images: highdicom gets the affine of the volume as it was read, and refers each plane to
the image that lies in its place. Patient and study are copied from the series, as they have to be.

Standard: DICOM PS3.3, A.51 (segmentation object). Written by highdicom, an extra.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.sr.codedict import codes
from pydicom.uid import UID, generate_uid

from medssl.errors import GeometryError, InputError, MedsslError, UsageError
from medssl.io.atomic import atomic_path
from medssl.io.contract import Source
from medssl.io.dicom_headers import DAMAGE, leniently
from medssl.io.dicom_series import DicomSeriesReader, FoundVolume, header_of
from medssl.io.dicom_stack import Stack
from medssl.io.dicom_terms import terms_of
from medssl.types import IntArray

if TYPE_CHECKING:
    import highdicom

__all__ = ["check_dicom_seg", "find_series", "write_dicom_seg"]

SERIES_NUMBER = 9001
"""Far beyond the series of a scanner, so that the masks stand last in a viewer's list."""

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_PLANES_FIRST = np.eye(4)[[2, 1, 0, 3]]
"""From (plane, row, column), the order of highdicom, to (X, Y, Z)."""

_MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime"),
)
_SEXES = ("F", "M", "O")
_LONGEST_LABEL, _LONGEST_NAME, _MOST_SEGMENTS = 64, 64, 2**15 - 1


def check_dicom_seg() -> None:
    """Say whether DICOM SEG can be written here.

    Raises:
        UsageError: If highdicom is not installed.
    """
    if importlib.util.find_spec("highdicom") is None:
        raise UsageError('DICOM SEG is written by highdicom: pip install "medssl[seg]"')


def write_dicom_seg(
    path: Path,
    mask: IntArray,
    source: Source,
    labels: Mapping[str, int],
    *,
    algorithm: str,
    algorithm_version: str,
    part: int | None = None,
) -> None:
    """Write a mask as one DICOM SEG file with a segment for each label, found or not.

    The same mask of the same series gives the same identifiers.

    Args:
        path: The file to write.
        mask: ``(X, Y, Z)`` label values on the grid of the series as medssl reads it.
        source: A folder or file with one series, or the files of one.
        labels: Name and value of each label; they become segments in this order.
        algorithm: What drew the mask, such as the id of a model.
        algorithm_version: Which one exactly, such as the hash of its weights.
        part: Which of several volumes in exactly these files, as a cohort counts them.

    Raises:
        UsageError: If highdicom is not installed.
        InputError: If the source is no DICOM series of a volume, or lacks what a SEG refers to.
        GeometryError: If the mask has another shape, or values without a name.
        OutputError: If the file can't be written.
    """
    check_dicom_seg()
    found = find_series(source, part)
    header = header_of(found)
    if mask.shape != header.shape:
        raise GeometryError(
            f"the mask has the shape {mask.shape} and the series {header.shape}; a DICOM SEG lies "
            "on the grid of its series"
        )
    segments = _numbered(mask, labels)
    try:
        with leniently():
            images = _images(found)
            dataset = _segmentation(
                images, segments, header.affine, list(labels), algorithm, algorithm_version
            )
            with atomic_path(path) as temporary:
                dataset.save_as(temporary)
    except MedsslError:
        raise
    except DAMAGE as error:
        # What highdicom says may quote the header, which names the patient.
        raise InputError(
            f'the header of "{_name(source)}" does not allow a DICOM SEG to refer to it; write its '
            "mask as NIfTI"
        ) from error


def find_series(source: Source, part: int | None = None) -> FoundVolume:
    """Return the series that a DICOM SEG can lie over, from headers alone.

    Args:
        source: A folder or file with one series, or the files of one.
        part: Which of several volumes in exactly these files, as a cohort counts them.

    Raises:
        InputError: If it is no DICOM series of a volume, or lies in several multi-frame files.
    """
    reader = DicomSeriesReader()
    if not reader.can_read(source):
        raise InputError(
            f'"{_name(source)}" is no DICOM series, and a DICOM SEG lies over one; write its mask '
            "as NIfTI"
        )
    found = reader.find(source) if part is None else reader.find_part(_listed(source), part)
    if not isinstance(found.stack, Stack):
        raise InputError(
            f'"{_name(source)}" is a single picture; a DICOM SEG is written for volumes, so write '
            "its mask as NIfTI"
        )
    if len(found.files) > 1 and any(file.pictures > 1 for file in found.formats):
        raise InputError(
            f'"{_name(source)}" lies in several multi-frame files, to which one DICOM SEG can\'t '
            "refer; write its mask as NIfTI"
        )
    return found


def _name(source: Source) -> str:
    return (source if isinstance(source, Path) else source[0].parent).name


def _listed(source: Source) -> list[Path]:
    return [source] if isinstance(source, Path) else list(source)


def _numbered(mask: IntArray, labels: Mapping[str, int]) -> npt.NDArray[np.uint16]:
    """Return the mask with segment numbers, which count from 1, for label values.

    Raises:
        GeometryError: If a value of the mask is neither 0 nor that of a label.
    """
    if not 0 < len(labels) <= _MOST_SEGMENTS:
        raise GeometryError(f"{len(labels)} labels; a DICOM SEG has 1 to {_MOST_SEGMENTS} segments")
    # A table instead of a sort: a whole-body mask has a hundred million voxels.
    values = np.array([0, *labels.values()])
    lowest, highest = int(mask.min()), int(mask.max())
    if lowest < 0 or highest > values.max():
        raise _unknown(min(lowest, 0) or highest)
    numbers = np.full(int(values.max()) + 1, -1, dtype=np.int16)
    numbers[values] = np.arange(len(values))
    segments = numbers[mask]
    if segments.min() < 0:
        raise _unknown(int(mask.flat[segments.argmin()]))
    return segments.view(np.uint16)


def _unknown(value: int) -> GeometryError:
    return GeometryError(f"the mask holds the value {value}, which no label has")


def _images(found: FoundVolume) -> list[pydicom.Dataset]:
    """Return the headers of the files, along the normal, with what files without names leave out.

    Raises:
        InputError: If there is no frame of reference to lie in.
    """
    stack = found.stack
    frames = stack.frames if isinstance(stack, Stack) else (stack,)
    files = dict.fromkeys(frame.path for frame in frames)
    images: list[pydicom.Dataset] = [
        pydicom.dcmread(path, stop_before_pixels=True, force=True) for path in files
    ]
    for image in images:
        for keyword in _MAY_BE_EMPTY:
            if keyword not in image:
                setattr(image, keyword, "")
        if image.PatientSex not in _SEXES:
            image.PatientSex = ""  # a word of some archive's own
    if not images[0].get("FrameOfReferenceUID") or not images[0].get("StudyInstanceUID"):
        raise InputError(
            f'the series in "{found.files[0].parent.name}" names no study or no frame of '
            "reference, without which a DICOM SEG lies nowhere; write its mask as NIfTI"
        )
    return images


def _segmentation(
    images: list[pydicom.Dataset],
    segments: npt.NDArray[np.uint16],
    affine: npt.NDArray[np.float64],
    names: list[str],
    algorithm: str,
    algorithm_version: str,
) -> Any:
    import highdicom

    first = images[0]
    volume = highdicom.Volume(
        np.ascontiguousarray(segments.transpose(2, 1, 0)),
        _RAS_TO_LPS @ affine @ _PLANES_FIRST,
        coordinate_system="PATIENT",
        frame_of_reference_uid=first.FrameOfReferenceUID,
    )
    identified = highdicom.AlgorithmIdentificationSequence(
        name=algorithm[:_LONGEST_NAME],
        family=codes.DCM.ArtificialIntelligence,
        version=algorithm_version[:_LONGEST_NAME],
    )
    series = _uid(first.SeriesInstanceUID, algorithm, algorithm_version)
    return highdicom.seg.Segmentation(
        source_images=images,
        pixel_array=volume,
        segmentation_type="BINARY",
        segment_descriptions=[
            _described(number, name, identified) for number, name in enumerate(names, start=1)
        ],
        series_instance_uid=series,
        series_number=SERIES_NUMBER,
        sop_instance_uid=_uid(series, hashlib.sha256(segments.tobytes()).hexdigest(), *names),
        instance_number=1,
        manufacturer="medssl",
        manufacturer_model_name=algorithm[:_LONGEST_NAME],
        software_versions=version("medssl"),
        device_serial_number=algorithm_version[:_LONGEST_NAME],
        content_label="MEDSSL",
        series_description=f"medssl {algorithm}"[:_LONGEST_NAME],
    )


def _uid(*parts: str) -> UID:
    return generate_uid(entropy_srcs=[str(part) for part in parts])


def _described(
    number: int, name: str, identified: highdicom.AlgorithmIdentificationSequence
) -> highdicom.seg.SegmentDescription:
    import highdicom

    terms = terms_of(name)
    description = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=name[:_LONGEST_LABEL],
        segmented_property_category=terms.category,
        segmented_property_type=terms.property_type,
        algorithm_type="AUTOMATIC",
        algorithm_identification=identified,
    )
    if terms.side is not None:
        (kind,) = description.SegmentedPropertyTypeCodeSequence
        kind.SegmentedPropertyTypeModifierCodeSequence = [
            highdicom.sr.CodedConcept(*terms.side[:3])
        ]
    return description
