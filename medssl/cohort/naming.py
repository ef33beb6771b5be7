"""Whose image it is and of which visit, as a path tells: rather one patient too few than too many.

A patient torn in two may end on both sides of a split, and every figure after that is wrong; two
patients taken for one only make the split coarser.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

__all__ = ["folder_name", "is_patient_name", "known_patient", "patient_name", "session_name"]

_NAMED = (
    re.compile(r"(sub-[A-Za-z0-9]+)"),  # BIDS
    re.compile(r"((?:patient|pat|subject|subj|sub|case)[-_ ]?[a-z]{0,4}\d+)", re.IGNORECASE),
    re.compile(r"(oas[1-4]_?\d{4,5})", re.IGNORECASE),  # OASIS-1 to 4; then _MR1, _MR_d0129
    re.compile(r"(?:adni_)?(\d{3}_S_\d{4,5})", re.IGNORECASE),  # ADNI
    re.compile(r"(ixi\d{3})", re.IGNORECASE),
    re.compile(r"(brats-[a-z]{2,4}-\d{5})(?:-\d{3})?", re.IGNORECASE),  # from 2023 on; then visit
    re.compile(r"(brats\d{2}_[a-z0-9]+_[a-z0-9]+)", re.IGNORECASE),  # 2017 to 2020
    re.compile(r"(tcga-\w{2}-\w{4})", re.IGNORECASE),
    re.compile(r"(p\d{8})(?!\d)"),  # MIMIC-CXR
    re.compile(r"(\d{7})_\d{5}_\d_\d"),  # UK Biobank: participant, field, visit
    re.compile(r"(\d{8})_\d{3}(?!\d)"),  # ChestX-ray14: patient, follow-up
)
"""Names that are a patient's whatever surrounds them; the group is the patient."""

_TCIA_STUDY = re.compile(r"\d{2}-\d{2}-\d{4}-")
_BIDS_SESSION = re.compile(r"ses-[A-Za-z0-9]+")
_NNUNET = re.compile(r"(?:images|labels)(?:tr|ts|va|val)(?:_\d+)?", re.IGNORECASE)
_CHANNEL = re.compile(r"(?<=\d)(\D*)_\d{4}$")
_WORD = re.compile(r"([^_\-. ,^()\[\]]+)([_\-. ,^()\[\]]*)")
_NUMBERED = re.compile(r"(?<!\d)0\d\d|[A-Za-z][_\-. ]*\d{3}")
"""What makes a file's own name a patient's against that of a folder: ``0012``, ``liver_123``, but
not the number of a series, ``301_axial``."""

_KINDS = (
    r"t1w|t2w|t1|t2|t1c|t1n|t1ce|t1gd|t2f|t2s|t2star|flair|pd|pdw|dwi|adc|bold|swi|asl|dti|mra"
    r"|angio|mprage|spgr|tse|fse|gre|epi|stir|dixon|vibe|haste|trufi|fiesta|ct|cta|ctp|cect"
    r"|ncct|cbct|ldct|mr|mri|pet|pt|suv|us|xr|cr|dx|mg|cxr|spect|nm|image|images|imaging|img|im"
    r"|scan|scans|volume|volumes|vol|anat|func|perf|fmap|data|seg|segmentation|segmentations"
    r"|mask|masks|label|labels|labelstr|labelsts|gt|raw|orig|original|nii|nifti|niftis|dicom"
    r"|dicoms|dcm|nrrd|mha|png|jpg|jpeg|tif|tiff|train|training|tr|val|valid|validation|test"
    r"|testing|ts|all|export|exports|output|input|derivatives|rawdata|sourcedata|brain|head"
    r"|neck|chest|thorax|abdomen|abdominal|pelvis|spine|knee|liver|lung|lungs|heart|cardiac"
    r"|prostate|breast|axial|sagittal|coronal|ax|sag|cor|tra|transversal|oblique|contrast"
    r"|native|arterial|venous|portal|delayed|plain|pre|post|std|soft|bone|kernel|thin|thick"
    r"|left|right|lt|rt|lat|ap|pa|front|frontal|lateral|wo|w|with|without|and|of"
)
_VISITS = (
    r"visit|ses|sess|session|tp|timepoint|baseline|followups?|fu|study|exam|week|month|day|year|bl"
)
_COUNTED = (
    rf"{_VISITS}|time|run|scan|frame|studies|series|ser|se|phase|echo|acq|acquisition|rec|follow|up"
    r"|img|im|image|slice|stack|dataset|task|set|batch|part|fold|group|class|site|center|centre"
    r"|hospital|scanner|st|accession|acc|te|tr"
)
_DATE = r"(?:19|20)\d\d(?:[01]\d(?:[0-3]\d)?)?"
_GENERAL = re.compile(rf"{_KINDS}|(?:{_COUNTED})\d*|[bv]\d+|[sei]\d{{1,2}}|{_DATE}")
"""Words that say what an image shows or when it was taken, and not of whom."""
_COUNTER = re.compile(rf"{_COUNTED}|{_DATE}")
_VISIT = re.compile(rf"(?:(?:{_VISITS})\d*|[vm]\d+|{_DATE})(?:[_\-. ]+\d{{1,2}})*(?:\.\d)?")


def is_patient_name(name: str) -> bool:
    """Say whether a name alone, such as ``sub-01`` or ``patient7``, stands for a patient."""
    return any(pattern.match(name) for pattern in _NAMED)


def patient_name(path: PurePosixPath) -> str:
    """Say from a relative path whose image it is.

    The name of a known cohort's or a spelt-out patient; a TCIA folder above its study; a file's
    name in an nnU-Net folder; a file's own name where it has a number; else the outermost folder
    that does not only say what or when; else what the file's name has.

    Example:
        >>> patient_name(PurePosixPath("raw/patient01/study1_FLAIR.nii.gz"))
        'patient01'
        >>> patient_name(PurePosixPath("imagesTr/liver_003_0000.nii.gz"))
        'liver_003'
        >>> patient_name(PurePosixPath("Doe/t1w.nii.gz"))
        'Doe'
    """
    known = known_patient(path)
    if known:
        return known
    stem = _CHANNEL.sub(r"\1", path.name.split(".", 1)[0])
    if any(_NNUNET.fullmatch(part) for part in path.parent.parts):
        return stem
    own, folder = _own_part(stem), _telling_folder(path.parent)
    if folder and not _NUMBERED.search(own):
        return folder
    return own or _counted_folder(path.parent)


def folder_name(path: PurePosixPath) -> str:
    """Say from the folder of a DICOM series whose it is; empty where nothing tells."""
    return known_patient(path) or _telling_folder(path)


def session_name(path: PurePosixPath) -> str:
    """Return the visit that a path tells, with its patient; empty where there is none.

    A BIDS session, the study folder of TCIA, or a folder below the patient's that names a visit.
    """
    for part in path.parts:
        found = _BIDS_SESSION.match(part)
        if found:
            return f"{patient_name(path)}/{found.group()}"
    for part in path.parent.parts:
        if _TCIA_STUDY.match(part) or _VISIT.fullmatch(part.lower()):
            return f"{patient_name(path)}/{part}"
    return ""


def known_patient(path: PurePosixPath) -> str:
    """Return the patient of a path that follows a known rule; empty where it follows none."""
    for pattern in _NAMED:
        for part in path.parts:
            found = pattern.match(part)
            if found:
                return found.group(1).lower()
    for patient, study in zip(path.parts, path.parts[1:], strict=False):
        if _TCIA_STUDY.match(study):
            return patient
    return ""


def _telling_folder(folder: PurePosixPath) -> str:
    """Return the outermost folder whose name is not general; one with a number comes first."""
    telling = [own for part in folder.parts if (own := _own_part(part))]
    numbered = [own for own in telling if re.search(r"\d", own)]
    return next(iter(numbered or telling), "")


def _counted_folder(folder: PurePosixPath) -> str:
    """Return the outermost folder with a number: where nothing else tells, it counts patients.

    Without one, everything in a source is one patient's.
    """
    return next((part for part in folder.parts if re.search(r"\d", part)), ".")


def _own_part(name: str) -> str:
    """Return a name without its general words.

    ``study_0001`` counts patients, ``study_1`` the visits of one.
    """
    kept = ""
    counted = False
    for word, gap in _WORD.findall(name):
        is_count = counted and len(word) < 3 and word.isdigit()
        if not is_count and not _GENERAL.fullmatch(word.lower()):
            kept += word + gap
        counted = is_count or bool(_COUNTER.fullmatch(word.lower()))
    return kept.strip("_-. ,^()[]")
