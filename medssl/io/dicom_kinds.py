"""What a DICOM object is: a picture of anatomy, or one of the many other things in a folder."""

from __future__ import annotations

from medssl.io.dicom_classes import is_picture_class
from medssl.io.dicom_headers import DicomHeader
from medssl.types import Modality

__all__ = ["modality_of", "reason_to_exclude"]

_MODALITIES: dict[str, Modality] = {
    "CT": "ct",
    "MR": "mr",
    "PT": "pt",
    "US": "us",
    **dict.fromkeys(("CR", "DX", "MG", "RG", "RF", "PX", "IO"), "xr"),
}
_PROJECTIONS = {
    *("MPR", "MIP", "MINIP", "MIN IP", "PROJECTION IMAGE", "REFORMATTED", "VRT", "CPR", "CSA MPR"),
    *("CURVED", "VOLUME RENDERED", "MIP_SUB", "3D RENDERING"),
}
_COLOURS = ("RGB", "PALETTE COLOR", "YBR")
_NAMED_MODALITIES = {
    *("SEG", "SR", "RTSTRUCT", "RTDOSE", "RTPLAN", "RTIMAGE", "RTRECORD", "PR", "KO", "REG", "DOC"),
    *("FID", "RWV", "PLAN", "ECG", "HD", "EPS", "AU", "SMR", "M3D", "ANN", "OT", "SC", "SM", "XC"),
    *("ES", "GM", "OP", "OCT", "IVUS", "XA", "NM", "CTPROTOCOL", "STAIN", *_MODALITIES),
}


def modality_of(header: DicomHeader) -> Modality:
    """Return the modality as medssl spells it."""
    return _MODALITIES.get(header.modality, "unknown")


def reason_to_exclude(header: DicomHeader) -> tuple[str, str] | None:
    """Return reason code and sentence where the object is no image of a patient's anatomy."""
    is_picture = is_picture_class(header.sop_class)
    if is_picture and not header.frames and not header.pixels.exist:
        return "truncated", "it ends before its pixels"
    if not is_picture or not header.frames:
        return "not_image_object", f"a DICOM object of modality {_modality_word(header)}"
    return _reason_by_words(header) or _reason_by_pixels(header)


def _modality_word(header: DicomHeader) -> str:
    """Return the modality if it is a word of the standard, since free text may name a patient."""
    return header.modality if header.modality in _NAMED_MODALITIES else "unnamed"


def _reason_by_words(header: DicomHeader) -> tuple[str, str] | None:
    words = {word.upper() for word in header.image_type}
    if words & {"LOCALIZER", "SCOUT", "SURVEY"}:
        return "localizer", "a localizer"
    if words & _PROJECTIONS or {"DERIVED", "SECONDARY"} <= words:
        kinds = " ".join(sorted(words & (_PROJECTIONS | {"DERIVED", "SECONDARY"})))
        return "derived", f"computed from other images: {kinds}"
    return None


def _reason_by_pixels(header: DicomHeader) -> tuple[str, str] | None:
    if header.burned_in:
        return "burned_in", "letters are drawn into its pixels"
    if header.samples != 1 or header.photometric.startswith(_COLOURS):
        return "not_scalar", "its pixels are colours"
    if header.photometric == "MONOCHROME1" and modality_of(header) != "xr":
        return "monochrome1", "its values are inverted, which CT and MR never are on purpose"
    return None
