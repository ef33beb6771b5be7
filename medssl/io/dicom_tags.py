"""The elements of a DICOM header that medssl asks for, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from pydicom.datadict import dictionary_VR, tag_for_keyword

__all__ = ["TAGS", "HeaderItem"]

_KEYWORDS = (
    *("SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "Modality"),
    *("AcquisitionTime", "ContentTime", "Manufacturer", "PatientID", "ConvolutionKernel"),
    *("SliceThickness", "SpacingBetweenSlices", "EchoTime", "EchoNumbers", "InversionTime"),
    *("TriggerTime", "ImagerPixelSpacing", "SequenceOfUltrasoundRegions", "PhysicalDeltaX"),
    *("PhysicalDeltaY", "PhysicalUnitsXDirection", "DiffusionBValue", "FlipAngle"),
    *("DiffusionGradientOrientation", "StudyInstanceUID", "SeriesInstanceUID"),
    *(
        "SeriesNumber",
        "AcquisitionNumber",
        "InstanceNumber",
        "ImagePositionPatient",
        "ImageOrientationPatient",
    ),
    *("TemporalPositionIdentifier", "StackID", "TemporalPositionIndex", "SamplesPerPixel"),
    *("PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns", "PixelSpacing"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "BurnedInAnnotation"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleIntercept", "RescaleSlope"),
    *("LossyImageCompression", "EffectiveEchoTime", "FrameType", "FrameAcquisitionDateTime"),
    *("InversionTimes", "NominalCardiacTriggerDelayTime", "FrameReferenceDateTime"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence"),
    *("FrameContentSequence", "PixelValueTransformationSequence", "MRImageFrameTypeSequence"),
    *("CTImageFrameTypeSequence", "PETFrameTypeSequence", "XRay3DFrameTypeSequence"),
    *("MREchoSequence", "MRDiffusionSequence", "DiffusionGradientDirectionSequence"),
    *("TemporalPositionSequence", "CardiacSynchronizationSequence", "MRModifierSequence"),
    *("CTReconstructionSequence",),
)
_PRIVATE = {
    "CreatorOf0019": (0x00190010, "LO"),
    "SiemensMosaicCount": (0x0019100A, "US"),
    "SiemensCsa": (0x00291010, "OB"),
    "SiemensBValue": (0x0019100C, "IS"),
    "SiemensDirection": (0x0019100E, "FD"),
    "CreatorOf0043": (0x00430010, "LO"),
    "GeBValue": (0x00431039, "IS"),
    "CreatorOf2001": (0x20010010, "LO"),
    "PhilipsBValue": (0x20011003, "FL"),
}


def _entry(keyword: str) -> tuple[int, str]:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise LookupError(f"pydicom's dictionary lacks {keyword}")
    return int(tag), dictionary_VR(tag)


TAGS: Mapping[str, tuple[int, str]] = {key: _entry(key) for key in _KEYWORDS} | _PRIVATE
"""Name of every element that is asked for, with its tag and value representation."""


class HeaderItem(Protocol):
    """A header, or an item of a sequence in it."""

    def get(self, name: str) -> Any:
        """Return a value by its name in :data:`TAGS`; None where it is absent or empty."""
