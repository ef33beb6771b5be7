"""The frames of one DICOM file: where each plane of pixels lies and what tells it from others.

Geometry stays in the patient system of DICOM (LPS, millimetres) until a stack becomes a volume.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

__all__ = ["Frame", "frames_of"]

Vector = tuple[float, ...]
_MOSAIC_COUNT = (0x0019, 0x100A)


@dataclass(frozen=True)
class Frame:
    """One plane of pixels.

    Attributes:
        path: The file that holds it.
        index: Its number in that file.
        rows: Pixels down.
        columns: Pixels across.
        position: Centre of the first pixel, or None.
        orientation: Direction along a row, then down a column, six numbers, or None.
        spacing: Millimetres between rows, then between columns, or None.
        detector_spacing: The same at the detector, which magnification makes larger, or None.
        thickness: Millimetres from plane to plane as the file states it, or None.
        stored_range: Smallest and largest value that the pixels can hold.
        slope: Factor to real values.
        intercept: Summand to real values.
        instance: InstanceNumber, which decides where nothing else does.
        echo: Echo time or number; with the fields below, what tells images at one place apart.
        b_value: Diffusion weighting.
        image_type: Words of ImageType: magnitude and phase, for one.
        acquisition: AcquisitionNumber.
        temporal: Temporal position, or trigger time.
        clock: Time of acquisition.
        tiles: Columns of pictures in a mosaic, 0 where the file is none.
    """

    path: Path
    index: int
    rows: int
    columns: int
    position: Vector | None = None
    orientation: Vector | None = None
    spacing: tuple[float, float] | None = None
    detector_spacing: tuple[float, float] | None = None
    thickness: float | None = None
    stored_range: tuple[int, int] = (0, 65535)
    slope: float = 1.0
    intercept: float = 0.0
    instance: int = 0
    echo: str = ""
    b_value: str = ""
    image_type: str = ""
    acquisition: str = ""
    temporal: str = ""
    clock: str = ""
    tiles: int = 0


def frames_of(path: Path, dataset: Dataset) -> tuple[Frame, ...]:
    """Return the frames of one object; none where it holds no pixels."""
    rows, columns = dataset.get("Rows"), dataset.get("Columns")
    if not rows or not columns:
        return ()
    stored = _stored_range(dataset)
    described = _described(dataset.get)
    whole = Frame(path, 0, int(rows), int(columns), stored_range=stored, **described)
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    if groups:
        shared = dataset.get("SharedFunctionalGroupsSequence") or [Dataset()]
        return tuple(
            replace(whole, index=index, **_described(_FunctionalGroups(group, shared[0]).get))
            for index, group in enumerate(groups)
        )
    if "MOSAIC" in whole.image_type and _MOSAIC_COUNT in dataset:
        return _mosaic(whole, dataset)
    count = int(dataset.get("NumberOfFrames", 1) or 1)
    return tuple(replace(whole, index=index) for index in range(count))


def _stored_range(dataset: Dataset) -> tuple[int, int]:
    bits = int(dataset.get("BitsStored") or dataset.get("BitsAllocated") or 16)
    if not 1 <= bits <= 64:
        raise ValueError(f"a pixel of {bits} bits")
    if dataset.get("PixelRepresentation") == 1:
        return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return 0, 2**bits - 1


def _described(get: Callable[[str], Any]) -> dict[str, Any]:
    """Return the fields of a frame that a header, classic or enhanced, gives."""
    image_type = get("ImageType") or get("FrameType")
    spacing = _numbers(get("PixelSpacing"), 2)
    detector = _numbers(get("ImagerPixelSpacing"), 2)
    found = {
        "position": _numbers(get("ImagePositionPatient"), 3),
        "orientation": _numbers(get("ImageOrientationPatient"), 6),
        "spacing": spacing if spacing and min(spacing) > 0 else None,
        "detector_spacing": detector if detector and min(detector) > 0 else None,
        "thickness": _number(get("SpacingBetweenSlices")) or _number(get("SliceThickness")),
        "slope": _number(get("RescaleSlope")),
        "intercept": _number(get("RescaleIntercept")),
        "instance": int(_number(get("InstanceNumber")) or 0),
        "echo": _text(get("EffectiveEchoTime") or get("EchoTime") or get("EchoNumbers")),
        "b_value": _text(get("DiffusionBValue")),
        "image_type": "\\".join(image_type) if not isinstance(image_type, str | None) else "",
        "acquisition": _text(get("AcquisitionNumber")),
        "temporal": _text(
            get("TemporalPositionIndex") or get("TemporalPositionIdentifier") or get("TriggerTime")
        ),
        "clock": _text(
            get("FrameAcquisitionDateTime") or get("AcquisitionTime") or get("ContentTime")
        ),
    }
    return {name: value for name, value in found.items() if value not in (None, "")}


class _FunctionalGroups:
    """One frame's macros and the shared ones, asked like a flat header.

    Args:
        frame: Item of PerFrameFunctionalGroupsSequence.
        shared: Item of SharedFunctionalGroupsSequence.
    """

    def __init__(self, frame: Dataset, shared: Dataset) -> None:
        self._macros = [
            element.value[0]
            for group in (frame, shared)
            for element in group
            if element.VR == "SQ" and element.value
        ]

    def get(self, keyword: str) -> Any:
        """Return the value in the first macro that has it, the frame's own before the shared."""
        return next((macro.get(keyword) for macro in self._macros if keyword in macro), None)


def _mosaic(whole: Frame, dataset: Dataset) -> tuple[Frame, ...]:
    """Return the tiles of a Siemens mosaic: one picture that shows all planes of a volume.

    The stated position is that of a picture as large as the mosaic about the first plane's centre.
    """
    count = int(dataset[_MOSAIC_COUNT].value)
    tiles = math.ceil(math.sqrt(count))
    rows, columns = whole.rows // tiles, whole.columns // tiles
    tile = replace(whole, rows=rows, columns=columns, tiles=tiles)
    planes = [replace(tile, index=index) for index in range(count)]
    if whole.position is None or whole.orientation is None or whole.spacing is None:
        return tuple(planes)
    across, down = np.array(whole.orientation[:3]), np.array(whole.orientation[3:])
    margin = (whole.columns - columns) / 2 * whole.spacing[1] * across
    margin = margin + (whole.rows - rows) / 2 * whole.spacing[0] * down
    step = _mosaic_normal(dataset, np.cross(across, down)) * (whole.thickness or 0.0)
    start = np.array(whole.position) + margin
    return tuple(
        replace(plane, position=tuple((start + plane.index * step).tolist())) for plane in planes
    )


def _mosaic_normal(dataset: Dataset, normal: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the direction from plane to plane, which Siemens keeps in a private header."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nibabel calls this module experimental
        from nibabel.nicom import csareader
    read: Any = csareader.get_csa_header
    try:
        header = read(dataset, "image")
        stated = header["tags"]["SliceNormalVector"]["items"] if header else []
    except (csareader.CSAReadError, KeyError, ValueError):
        stated = []
    if len(stated) == 3 and float(np.dot(stated, normal)) < 0:
        return -normal
    return normal


def _numbers(value: Any, count: int) -> Vector | None:
    """Return exactly ``count`` finite numbers, or None."""
    try:
        numbers = tuple(float(item) for item in value)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _text(value: Any) -> str:
    return "" if value is None else str(value)
