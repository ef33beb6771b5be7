"""One labelled image, a set of them, and the mask of one, read once and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from medssl.errors import DatasetError
from medssl.io.geometry import corner_distance_mm
from medssl.io.read import read_volume
from medssl.types import Shape, Volume

__all__ = ["Case", "LabelledDataset", "Problem", "TaskName", "check_place", "listed"]

TaskName = Literal["segmentation", "classification", "regression"]

SAME_PLACE_MM = 1.0
"""A mask whose corners lie closer than this to the image's is on the image's grid."""

_NAMED = 10


@dataclass(frozen=True)
class Case:
    """One labelled image.

    Attributes:
        id: Its name; no two cases share one, whatever the case of letters.
        image: Where the image is.
        label: Where its mask is, for segmentation.
        target: Its class, or its number for regression.
        patient: Whose it is; the key of all splits.
        split: ``train``, ``val``, ``test``, or None where the dataset does not say.
    """

    id: str
    image: Path
    label: Path | None
    target: str | float | None
    patient: str
    split: str | None = None


@dataclass(frozen=True)
class LabelledDataset:
    """The cases of one task.

    Attributes:
        cases: In order of name, or of the table.
        labels: Name and value of each label without the background; for classification name and
            number of each class; empty for regression.
        task: What there is to learn.
    """

    cases: Sequence[Case]
    labels: Mapping[str, int] = field(default_factory=dict)
    task: TaskName = "segmentation"

    def read_mask(self, case: Case, image: Volume) -> Volume:
        """Read the mask of a case and put it on the grid of its image.

        Args:
            case: A case with a mask.
            image: Its image.

        Returns:
            The mask, whole numbers, with exactly the affine of the image.

        Raises:
            DatasetError: If it lies elsewhere, holds fractions, or values that no label has.
        """
        if case.label is None:
            raise DatasetError(f'case "{case.id}" has no mask')
        mask = read_volume(case.label)
        check_place(case.id, mask.data.shape, mask.affine, image.data.shape, image.affine)
        values = np.rint(mask.data)
        if np.issubdtype(mask.data.dtype, np.floating) and np.abs(mask.data - values).max() > 1e-2:
            raise DatasetError(
                f'case "{case.id}": the mask holds fractions, as after interpolation; expected '
                "whole numbers"
            )
        unknown = sorted(set(np.unique(values).astype(int).tolist()) - {0, *self.labels.values()})
        if unknown:
            raise DatasetError(
                f'case "{case.id}": the mask holds {listed(unknown)}, which no label has; '
                f"expected 0 and {listed(sorted(self.labels.values()))}. Add the label to the "
                "dataset's names, or mend the mask"
            )
        return replace(mask, data=values.astype(np.int16), affine=image.affine)


@dataclass(frozen=True)
class Problem:
    """Something wrong with a dataset or a cohort.

    Attributes:
        kind: What sort of thing, in the plural, for a count.
        text: What is wrong, where, and what to do; cases by their ids.
        count: How many files or cases it is wrong with.
    """

    kind: str
    text: str
    count: int = 1


def check_place(
    name: str,
    shape: Shape,
    affine: npt.NDArray[np.float64],
    image_shape: Shape,
    image_affine: npt.NDArray[np.float64],
) -> None:
    """Compare the grid of a mask with that of its image.

    Args:
        name: The case.
        shape: Voxels of the mask.
        affine: Place of the mask.
        image_shape: Voxels of the image.
        image_affine: Place of the image.

    Raises:
        DatasetError: If they differ in size, or by more than a millimetre at a corner.
    """
    if shape != image_shape:
        raise DatasetError(
            f'case "{name}": the mask has {shape} voxels and the image {image_shape}; expected '
            "the same grid"
        )
    apart = corner_distance_mm(shape, affine, image_shape, image_affine)
    if apart > SAME_PLACE_MM:
        raise DatasetError(
            f'case "{name}": a corner of the mask lies {apart:.1f} mm from that of the image; '
            f"expected at most {SAME_PLACE_MM:g} mm. Resample the mask onto the image"
        )


def listed(items: Sequence[object]) -> str:
    """Return up to ten items as text, and how many more there are."""
    shown = ", ".join(map(str, items[:_NAMED]))
    return shown if len(items) <= _NAMED else f"{shown} and {len(items) - _NAMED} more"
