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
    "truncated": ("The file ends too early.", "Copy it again from its source."),
    "corrupt": ("The content is damaged.", "Copy it again; compare checksums."),
    "not_an_image": ("Not an image, whatever its name says.", "Usually nothing to do."),
    "too_large": ("The header claims more voxels than is plausible.", "Look at the header."),
    "empty": ("The image has no voxels.", "Export it again."),
    "non_finite": ("Too many voxels are not numbers.", "Find out which step made them."),
    "qform_sform_conflict": (
        "Two positions in the header contradict each other.",
        "Decide which is right and write the header anew.",
    ),
    "bad_affine": ("The position in space is singular.", "Convert again from DICOM."),
    "no_spacing": ("The size of a voxel is not stated.", "Convert again from DICOM."),
    "no_geometry": ("The position of the slices is not stated.", "Export with geometry."),
    "too_few_slices": ("Too few slices to be a volume.", "Index radiographs and slices as 2D."),
    "not_scalar": ("Colour, complex or vector voxels.", "Usually a screenshot or a derived map."),
    "time_series": ("More than three dimensions.", "Split it into single volumes."),
    "unreadable": ("The file can't be opened.", "Check permissions and links."),
    "no_content": ("The image is constant.", "Usually an empty export."),
    "ambiguous_stack": ("Several slices at one place.", "Split phases or echoes into series."),
    "missing_slices": ("Slices are missing in between.", "Fetch the series again."),
    "duplicate_slices": ("Different slices claim one place.", "Fetch the series again."),
    "mixed_orientation": ("Slices of several orientations.", "Split the series."),
    "codec_missing": (
        "Compressed in a way that no decoder here reads.",
        "The command medssl info lists the decoders.",
    ),
    "monochrome1": ("Grey values are inverted.", "Export it as MONOCHROME2."),
    "burned_in": ("Text may be burned into the pixels.", "Check that it names no one."),
    "localizer": ("A planning scan.", "Nothing to do."),
    "derived": ("Computed from another series.", "Nothing to do; the original is what counts."),
    "not_image_object": ("A report, a segmentation or the like.", "Nothing to do."),
    "duplicate": ("The same voxels as another volume.", "Nothing to do; one copy was kept."),
}
"""Quarantined: code to meaning and advice."""

FIXES: dict[str, str] = {
    "non_finite_filled": "A few voxels that were not numbers were filled.",
    "tilt_resampled": "Gantry tilt was resampled to upright slices.",
    "uneven_resampled": "Uneven slice distances were resampled to even ones.",
    "shear_resampled": "A sheared grid was resampled to a straight one.",
    "affine_orthonormalised": "Rounding errors in the orientation were removed.",
    "units_converted": "Metres or micrometres were converted to millimetres.",
    "duplicate_slice_dropped": "An identical slice was dropped.",
    "odd_slice_dropped": "A slice of another orientation or size was dropped.",
    "frames_split": "A series over time or phases was split.",
    "lossy": "The pixels were once compressed with loss.",
    "orientation_unknown": "The file does not say which way up it is.",
    "intensity_suspect": "Values do not look like those of the modality.",
}
"""Admitted with a remark: code to meaning."""
