"""What the codes of ``index`` mean in words, and what a person can do about a refusal."""

from __future__ import annotations

__all__ = ["FIXES", "MODALITIES", "REASONS"]

MODALITIES = {
    "ct": "CT",
    "mr": "MR",
    "pt": "PET",
    "us": "ultrasound",
    "xr": "radiograph",
    "unknown": "unknown",
}
"""Modality as tables spell it, and as people do."""

REASONS: dict[str, tuple[str, str]] = {
    "truncated": (
        "The file ends before its last voxel.",
        "Copy or download it again, and compare its size with the source.",
    ),
    "corrupt": (
        "The content is damaged, or no reader survives it.",
        "Copy it again and compare checksums; if the source is damaged too, export it anew.",
    ),
    "not_an_image": (
        "Not an image, whatever its name says.",
        "Nothing, if it is a note or a table; otherwise give it the suffix of what it is.",
    ),
    "too_large": (
        "It claims more voxels, or unpacks to more bytes, than there is room for.",
        "Look at the size in its header; a sound one can be cropped or resampled first.",
    ),
    "empty": ("The file or an axis of the image has no length.", "Export or copy it again."),
    "non_finite": (
        "Too many voxels are not numbers.",
        "Find the step that made them, often a division or a registration, and fill them there.",
    ),
    "qform_sform_conflict": (
        "The two positions in the NIfTI header lie more than a millimetre apart.",
        "Overlay it on another scan of the patient, keep the form that fits and write both alike.",
    ),
    "bad_affine": (
        "The matrix that places voxels in space can't be right.",
        "Convert it again from DICOM; do not repair the matrix by hand.",
    ),
    "no_spacing": (
        "The size of a voxel is stated nowhere.",
        "Convert or export it again with spacing; never assume 1 mm.",
    ),
    "no_geometry": (
        "Nothing says where the slices lie.",
        "Export it from the archive again, as the original and not as secondary capture.",
    ),
    "too_few_slices": (
        "Too few slices to be a volume.",
        "Lower --min-slices if this is meant; a radiograph is known by --modality xr.",
    ),
    "not_scalar": (
        "Colour, complex or vector voxels.",
        "Nothing, if it is a screenshot or a map; otherwise write its magnitude as one channel.",
    ),
    "time_series": (
        "Several volumes over time, phases or directions in one file.",
        "Index again with --time-series first, or split for one row a volume.",
    ),
    "unreadable": (
        "The file can't be opened, or is of a kind that is not opened.",
        "Check permissions and links; encrypted archives and odd formats must be unpacked first.",
    ),
    "no_content": (
        "All voxels have the same value.",
        "Nothing, if the export was empty; otherwise export it again.",
    ),
    "ambiguous_stack": (
        "Several images lie at one place and nothing tells them apart.",
        "Export the phases, echoes or repetitions as series of their own.",
    ),
    "missing_slices": (
        "Slices are missing from the middle of the series.",
        "Fetch the series again; its number of images in the archive tells if it is whole there.",
    ),
    "duplicate_slices": (
        "Different images claim the same place.",
        "Fetch the series again into an empty folder; two versions of it were probably merged.",
    ),
    "mixed_orientation": (
        "The slices of the series point in several directions.",
        "Nothing, if it is a survey or a reformat; otherwise export each direction by itself.",
    ),
    "codec_missing": (
        "Compressed in a way that no decoder here reads.",
        "Run medssl info: it lists the decoders and how to install what is missing; index again.",
    ),
    "monochrome1": (
        "Grey values are inverted, and nothing says how they map to the modality.",
        "Export it as MONOCHROME2.",
    ),
    "burned_in": (
        "Text is burned into the pixels, or the header says so.",
        "Look whether it names a patient; mask it, or leave the image out.",
    ),
    "localizer": ("A planning scan.", "Nothing: it is not meant to be learned from."),
    "derived": (
        "Computed from another series: a projection, a reformat or a map.",
        "Nothing, if its original is in the cohort; otherwise fetch the original.",
    ),
    "not_image_object": (
        "A report, a segmentation, a dose or the like.",
        "Nothing; masks to train on are given to finetune with --data.",
    ),
    "duplicate": (
        "The same voxels as another volume of this patient.",
        "Nothing: one copy was kept.",
    ),
}
"""Quarantined: code to meaning and advice."""

FIXES: dict[str, tuple[str, str]] = {
    "non_finite_filled": (
        "A few voxels that were not numbers were filled.",
        "Look at one of them if they are many.",
    ),
    "tilt_resampled": (
        "The gantry was tilted; slices were resampled to stand upright.",
        "Nothing: positions are true, edges of the volume are padded.",
    ),
    "uneven_resampled": (
        "Slice distances were uneven and were resampled to even ones.",
        "Leave these out where texture along the body matters: parts are interpolated.",
    ),
    "shear_resampled": (
        "The grid was sheared and was resampled to right angles.",
        "Nothing: positions are true, edges of the volume are padded.",
    ),
    "affine_orthonormalised": (
        "Rounding errors in the orientation were removed.",
        "Nothing: no voxel moved by a length that matters.",
    ),
    "units_converted": (
        "Metres or micrometres were converted to millimetres.",
        "Compare the spacing with the protocol once.",
    ),
    "duplicate_slice_dropped": ("An identical slice was dropped.", "Nothing."),
    "odd_slice_dropped": (
        "A slice of another orientation or size was dropped.",
        "Nothing: mostly a localizer that was filed with the series.",
    ),
    "frames_split": (
        "One series or file held several volumes; each has its own row.",
        "Nothing: they share a patient and stay on one side of a split.",
    ),
    "lossy": (
        "The pixels were once compressed with loss.",
        "Leave these out where fine texture matters.",
    ),
    "orientation_unknown": (
        "The file does not say which way up it is, or which side is left.",
        "Leave these out where left and right matter, or convert again from DICOM.",
    ),
    "intensity_suspect": (
        "Values do not look like those of the modality.",
        "Look at one: a missing rescale, a window or an 8-bit export shifts every value.",
    ),
}
"""Admitted, repaired or with a remark: code to meaning and advice."""
