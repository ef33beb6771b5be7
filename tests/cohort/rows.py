"""Rows of a cohort's table, made up."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from medssl.cohort.admit import Admitted


def admitted(name: str, *, voxels: str = "00", **columns: Any) -> Admitted:
    """Return a row for a volume that was never read."""
    row = {
        "id": name, "patient": "a", "study": "", "series": "", "source": 0,
        "path": PurePosixPath(f"{name}.nii"), "files": (), "part": 0, "format": "nifti",
        "modality": "ct", "shape": (8, 8, 8), "spacing_mm": (1.0, 1.0, 1.0), "orientation": "RAS",
        "affine": (1.0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1), "dtype": "int16",
        "fixes": (), "manufacturer": "", "intensity": (0.0, 0.0, 1.0, 2.0, 3.0),
        "voxel_hash": voxels, "perceptual_hash": "00" * 48,
    }  # fmt: skip
    return Admitted(**{**row, **columns})
