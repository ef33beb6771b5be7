"""The frames of one DICOM file: where each plane of pixels lies and what tells it from others.

Geometry stays in the patient system of DICOM (LPS, millimetres) until a stack becomes a volume.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medssl.io.dicom_format import PixelFormat
from medssl.io.dicom_tags import HeaderItem
from medssl.io.dicom_values import key, number, numbers, stated_number, text, words

__all__ = ["Frame", "frames_of"]

Vector = tuple[float, ...]

_MACROS = (
    *("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence"),
    *("FrameContentSequence", "PixelValueTransformationSequence", "MRImageFrameTypeSequence"),
    *("CTImageFrameTypeSequence", "PETFrameTypeSequence", "XRay3DFrameTypeSequence"),
    *("MREchoSequence", "MRDiffusionSequence", "TemporalPositionSequence"),
    *("CardiacSynchronizationSequence", "MRModifierSequence", "CTReconstructionSequence"),
)
_CENTIMETRES = 3
_GE_OFFSET = 1_000_000_000


@dataclass(frozen=True, slots=True)
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
        slope: Factor to real values.
        intercept: Summand to real values.
        instance: InstanceNumber, which decides where nothing else does.
        echo: Echo time or number; with the fields below, what tells images at one place apart.
        b_value: Diffusion weighting.
        direction: Of that weighting.
        inversion: Inversion time.
        image_type: Words of ImageType: magnitude and phase, for one.
        kernel: Of the reconstruction.
        stack: Name of the stack, in enhanced objects.
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
    slope: float = 1.0
    intercept: float = 0.0
    instance: int = 0
    echo: str = ""
    b_value: str = ""
    direction: str = ""
    inversion: str = ""
    image_type: str = ""
    kernel: str = ""
    stack: str = ""
    acquisition: str = ""
    temporal: str = ""
    clock: str = ""
    tiles: int = 0


def frames_of(path: Path, header: HeaderItem, pixels: PixelFormat) -> tuple[Frame, ...]:
    """Return the frames of one object; none where it holds no pixels."""
    if not pixels.rows:
        return ()
    whole = Frame(path, 0, pixels.rows, pixels.columns, **_described(header.get))
    groups = header.get("PerFrameFunctionalGroupsSequence")
    if groups:
        if len(groups) != pixels.pictures:
            raise ValueError("as many functional groups as frames were expected")
        shared = _macros(header.get("SharedFunctionalGroupsSequence") or ())
        return tuple(
            replace(whole, index=index, **_described(_asked([*_macros([group]), *shared])))
            for index, group in enumerate(groups)
        )
    if pixels.pictures == 1:
        return (whole,)
    return tuple(replace(whole, index=index) for index in range(pixels.pictures))


def _described(get: Callable[[str], Any]) -> dict[str, Any]:
    """Return the fields of a frame that a header, classic or enhanced, gives."""
    spacing = numbers(get("PixelSpacing"), 2) or _ultrasound_spacing(get)
    detector = numbers(get("ImagerPixelSpacing"), 2)
    found = {
        "position": numbers(get("ImagePositionPatient"), 3),
        "orientation": numbers(get("ImageOrientationPatient"), 6),
        "spacing": spacing if spacing and min(spacing) > 0 else None,
        "detector_spacing": detector if detector and min(detector) > 0 else None,
        "thickness": number(get("SpacingBetweenSlices")) or number(get("SliceThickness")),
        "slope": stated_number(get("RescaleSlope")),
        "intercept": stated_number(get("RescaleIntercept")),
        "instance": int(number(get("InstanceNumber")) or 0),
        "echo": key(get("EffectiveEchoTime") or get("EchoTime") or get("EchoNumbers")),
        "b_value": _b_value(get),
        "direction": key(get("DiffusionGradientOrientation") or _private_direction(get)),
        "inversion": key(get("InversionTimes") or get("InversionTime")),
        "image_type": "\\".join(words(get("ImageType") or get("FrameType"))),
        "kernel": key(get("ConvolutionKernel")),
        "stack": key(get("StackID")),
        "acquisition": key(get("AcquisitionNumber")),
        "temporal": key(
            get("TemporalPositionIndex")
            or get("TemporalPositionIdentifier")
            or get("NominalCardiacTriggerDelayTime")
            or get("TriggerTime")
        ),
        "clock": text(
            get("FrameAcquisitionDateTime")
            or get("FrameReferenceDateTime")
            or get("AcquisitionTime")
            or get("ContentTime")
        ),
    }
    return {name: value for name, value in found.items() if value not in (None, "")}


def _macros(groups: Iterable[HeaderItem]) -> list[HeaderItem]:
    """Return the items of the macros in functional groups, and what is nested in them."""
    found: list[HeaderItem] = []
    for group in groups:
        for keyword in _MACROS:
            found += (group.get(keyword) or ())[:1]
    for macro in tuple(found):
        found += (macro.get("DiffusionGradientDirectionSequence") or ())[:1]
    return found


def _asked(macros: list[HeaderItem]) -> Callable[[str], Any]:
    """Return one frame's macros and the shared ones, asked like a flat header: the first wins."""

    def get(name: str) -> Any:
        for macro in macros:
            value = macro.get(name)
            if value is not None:
                return value
        return None

    return get


def _b_value(get: Callable[[str], Any]) -> str:
    """Return the diffusion weighting, which each maker keeps in a place of its own."""
    value = get("DiffusionBValue")
    if value is None and text(get("CreatorOf0019")) == "SIEMENS MR HEADER":
        value = get("SiemensBValue")
    if value is None and text(get("CreatorOf2001")).startswith("Philips Imaging DD"):
        value = get("PhilipsBValue")
    if value is None and text(get("CreatorOf0043")) == "GEMS_PARM_01":
        first = number((words(get("GeBValue")) or ("",))[0])
        value = None if first is None else first % _GE_OFFSET
    return key(value)


def _private_direction(get: Callable[[str], Any]) -> Any:
    is_siemens = text(get("CreatorOf0019")) == "SIEMENS MR HEADER"
    return get("SiemensDirection") if is_siemens else None


def _ultrasound_spacing(get: Callable[[str], Any]) -> Vector | None:
    """Return millimetres between rows and columns of an ultrasound picture of one region."""
    regions = get("SequenceOfUltrasoundRegions")
    if not regions or regions[0].get("PhysicalUnitsXDirection") != _CENTIMETRES:
        return None
    steps = [number(regions[0].get(f"PhysicalDelta{axis}")) for axis in "YX"]
    return tuple(abs(step) * 10 for step in steps if step is not None)[:2] if all(steps) else None
