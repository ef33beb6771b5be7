"""Which prediction belongs to which reference, and whether both lie at the same place in space."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from medssl.errors import GeometryError, InputError
from medssl.io.geometry import corner_distance_mm, to_ras
from medssl.io.read import read_volume
from medssl.types import IntArray, Volume

__all__ = [
    "case_name",
    "check_same_grid",
    "files_by_case",
    "labels_found",
    "match_cases",
    "present_labels",
    "read_mask",
]

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".png", ".tiff", ".tif")
TOLERANCE_MM = 1.0
"""How far the corners of two grids may lie apart and still be one grid with rounded headers."""

NAMED = 10
"""How many cases a message names before it counts the rest."""


def case_name(path: Path) -> str:
    """Return the name of a file without what says only its format.

    Example:
        >>> case_name(Path("labels/liver_003.nii.gz"))
        'liver_003'
    """
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.stem


def files_by_case(folder: Path) -> dict[str, Path]:
    """Return the mask files of a folder by case name, in alphabetical order.

    Raises:
        InputError: If the folder is not there, holds no mask, or two masks of one name.
    """
    if not folder.is_dir():
        raise InputError(f'"{folder.name}" is not a folder; give the folder that holds the masks')
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.name.lower().endswith(SUFFIXES):
            continue
        if case_name(path) in found:
            raise InputError(
                f'"{folder.name}" holds two masks called "{case_name(path)}"; remove one of them'
            )
        found[case_name(path)] = path
    if not found:
        raise InputError(
            f'no mask in "{folder.name}"; expected files that end in {", ".join(SUFFIXES)}'
        )
    return found


def match_cases(
    predictions: Mapping[str, Path], references: Mapping[str, Path], *, subset: bool = False
) -> list[str]:
    """Return the names that both sides have.

    Args:
        predictions: Masks to be judged, by name.
        references: Masks to judge by.
        subset: Whether references without a prediction may be left out.

    Raises:
        InputError: If a partner is missing; the message names the cases.
    """
    lonely = sorted(set(predictions) - set(references))
    if lonely:
        raise InputError(
            f"no reference for {_listed(lonely)}; masks are paired by their file names"
        )
    missing = sorted(set(references) - set(predictions))
    if missing and not subset:
        raise InputError(
            f"no prediction for {_listed(missing)}; predict these cases too, or give --subset to "
            "score only what was predicted"
        )
    return sorted(predictions)


def read_mask(path: Path) -> Volume:
    """Read a mask in RAS+ order, as whole numbers.

    Raises:
        InputError: If it holds numbers between the labels, as an interpolated mask does.
        VolumeReadError: If the file can't be read.
    """
    volume = to_ras(read_volume(path))
    whole = np.rint(volume.data)
    if (
        not np.issubdtype(volume.data.dtype, np.integer)
        and np.abs(whole - volume.data).max() > 1e-3
    ):
        raise InputError(
            f'the mask "{path.name}" holds fractions; expected whole numbers. Was it resampled '
            "with interpolation? Use nearest neighbour for masks"
        )
    return Volume(whole.astype(np.int32), volume.affine, volume.modality, volume.fixes)


def check_same_grid(case: str, predicted: Volume, reference: Volume) -> None:
    """See that two masks lie on one grid.

    Raises:
        GeometryError: If shapes differ, or the corners lie more than a millimetre apart.
    """
    if predicted.data.shape != reference.data.shape:
        raise GeometryError(
            f"prediction and reference of {case} have {predicted.data.shape} and "
            f"{reference.data.shape} voxels; expected one grid. Predict the image that was labelled"
        )
    distance_mm = corner_distance_mm(
        predicted.data.shape, predicted.affine, reference.data.shape, reference.affine
    )
    if distance_mm > TOLERANCE_MM:
        raise GeometryError(
            f"prediction and reference of {case} lie {distance_mm:.1f} mm apart in space; expected "
            f"at most {TOLERANCE_MM:g} mm. One of them has lost its position or spacing"
        )


def present_labels(masks: Iterable[IntArray]) -> set[int]:
    """Return the label values that occur in any mask, without the background."""
    values: set[int] = set()
    for mask in masks:
        values.update(np.flatnonzero(np.bincount(mask.ravel())).tolist())
    return values - {0}


def labels_found(masks: Iterable[Path]) -> dict[str, int]:
    """Return the labels that occur in any mask, named after their values.

    Raises:
        InputError: If there is none.
    """
    values = sorted(present_labels(read_mask(path).data for path in masks))
    if not values:
        raise InputError("no mask holds a label; expected values above 0 in some of them")
    return {f"label_{value}": value for value in values}


def _listed(cases: list[str]) -> str:
    rest = f" and {len(cases) - NAMED} more" if len(cases) > NAMED else ""
    return ", ".join(cases[:NAMED]) + rest
