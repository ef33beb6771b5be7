"""Names of labels as DICOM's coded terms: what a segment is, and on which side of the body.

A viewer that knows the code of the liver can colour, name and sum it up in any language. Codes are
SNOMED CT's, taken from the dictionary of pydicom; DICOM PS3.16, context groups 7150 and 7151. A
label without one keeps its own name under the private scheme ``99MEDSSL``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

__all__ = ["PRIVATE_SCHEME", "SegmentTerms", "terms_of"]

PRIVATE_SCHEME = "99MEDSSL"

_STRUCTURES: Mapping[str, str] = {
    "aorta": "Aorta",
    "bladder": "Bladder",
    "urinary bladder": "Bladder",
    "bone": "Bone",
    "brain": "Brain",
    "breast": "Breast",
    "colon": "Colon",
    "duodenum": "Duodenum",
    "adrenal gland": "AdrenalGland",
    "esophagus": "Esophagus",
    "oesophagus": "Esophagus",
    "femur": "Femur",
    "gallbladder": "Gallbladder",
    "gall bladder": "Gallbladder",
    "heart": "Heart",
    "hippocampus": "Hippocampus",
    "kidney": "Kidney",
    "liver": "Liver",
    "inferior vena cava": "InferiorVenaCava",
    "lung": "Lung",
    "muscle": "Muscle",
    "pancreas": "Pancreas",
    "pelvis": "Pelvis",
    "portal vein": "PortalVein",
    "prostate": "Prostate",
    "rectum": "Rectum",
    "rib": "Rib",
    "ribs": "Rib",
    "sacrum": "Sacrum",
    "small bowel": "SmallIntestine",
    "small intestine": "SmallIntestine",
    "spinal cord": "SpinalCord",
    "spleen": "Spleen",
    "sternum": "Sternum",
    "stomach": "Stomach",
    "thyroid": "Thyroid",
    "thyroid gland": "Thyroid",
    "trachea": "Trachea",
    "uterus": "Uterus",
    "vertebra": "Vertebra",
    "vertebrae": "Vertebra",
}
_ABNORMAL: Mapping[str, str] = {
    "cyst": "Cyst",
    "edema": "Edema",
    "hemorrhage": "Hemorrhage",
    "lesion": "Lesion",
    "mass": "Mass",
    "metastasis": "Metastasis",
    "neoplasm": "Neoplasm",
    "nodule": "Nodule",
    "cancer": "Neoplasm",
    "tumor": "Neoplasm",
    "tumour": "Neoplasm",
}
_SIDES = {"left": "Left", "right": "Right"}
_LONGEST_MEANING = 64


@dataclass(frozen=True)
class SegmentTerms:
    """What a segment is, in coded terms.

    Attributes:
        category: An anatomical structure, or something abnormal.
        property_type: Which one.
        side: Left or right, where the label says so.
    """

    category: Code
    property_type: Code
    side: Code | None


def terms_of(label: str) -> SegmentTerms:
    """Return the coded terms of a label such as ``kidney_left`` or ``liver tumor``.

    Example:
        >>> terms_of("kidney_left").property_type.meaning
        'Kidney'
        >>> terms_of("my_organ").property_type.value
        'my_organ'
    """
    words = re.findall(r"[a-z]+", label.lower())
    side = next((_SIDES[word] for word in words if word in _SIDES), None)
    rest = [word for word in words if word not in _SIDES]
    abnormal = next((_ABNORMAL[word] for word in rest if word in _ABNORMAL), None)
    structure = _STRUCTURES.get(" ".join(rest))
    known = abnormal or structure
    if known is None:
        # Values of codes are at most 16 letters long, so a long name stands in the meaning alone.
        value = re.sub(r"\W", "_", label)[:16] or "segment"
        property_type = Code(value, PRIVATE_SCHEME, label[:_LONGEST_MEANING])
    else:
        property_type = getattr(codes.SCT, known)
    return SegmentTerms(
        category=codes.SCT.MorphologicallyAbnormalStructure
        if abnormal
        else codes.SCT.AnatomicalStructure,
        property_type=property_type,
        side=None if side is None else getattr(codes.SCT, side),
    )
