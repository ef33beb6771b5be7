"""The classes of DICOM objects that are pictures of anatomy, as PS3.6 numbers them."""

from __future__ import annotations

__all__ = ["is_picture_class"]

_IMAGE_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.1",  # CR, DX, mammography
    "1.2.840.10008.5.1.4.1.1.2",  # CT
    "1.2.840.10008.5.1.4.1.1.4",  # MR
    "1.2.840.10008.5.1.4.1.1.6",  # ultrasound
    "1.2.840.10008.5.1.4.1.1.3",
    "1.2.840.10008.5.1.4.1.1.12",  # fluoroscopy, angiography
    "1.2.840.10008.5.1.4.1.1.13",  # 3D X-ray, tomosynthesis
    "1.2.840.10008.5.1.4.1.1.20",  # nuclear medicine
    "1.2.840.10008.5.1.4.1.1.5",
    "1.2.840.10008.5.1.4.1.1.128",  # PET
    "1.2.840.10008.5.1.4.1.1.130",
)
_NOT_IMAGES = ("1.2.840.10008.5.1.4.1.1.4.2", "1.2.840.10008.5.1.4.1.1.128.2")  # raw spectra


def is_picture_class(sop_class: str) -> bool:
    """Say whether objects of a class are pictures of anatomy; one without a class may be."""
    known = any(sop_class == root or sop_class.startswith(f"{root}.") for root in _IMAGE_CLASSES)
    return not sop_class or (known and sop_class not in _NOT_IMAGES)
