"""How good a mask or a class probability is, in numbers that mean something to a reader.

Distances are millimetres and use the true spacing, volumes are millilitres. What happens when a
label is absent is fixed here and nowhere else:

==================  =====  =====  ==========================  ==============  ================
reference / mask    Dice   NSD    HD95                        volume error    in percent
==================  =====  =====  ==========================  ==============  ================
both empty          none   none   none                        0 ml            none
only one is empty   0      0      diagonal of the image grid  the difference  none, or -100 %
==================  =====  =====  ==========================  ==============  ================

"None" is NaN in arrays and ``null`` in JSON; means leave it out and say how many cases are left. A
missed organ thus costs the worst possible distance, not nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.stats
from scipy import ndimage

from medssl.types import IntArray

__all__ = [
    "CLASSIFICATION_SCORES",
    "SEGMENTATION_SCORES",
    "LabelScores",
    "area_under_roc",
    "average_precision",
    "classification_scores",
    "expected_calibration_error",
    "label_scores",
    "segmentation_scores",
    "surface_distances_mm",
]

Mask = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]

SEGMENTATION_SCORES = ("dice", "nsd", "hd95_mm", "volume_error_ml", "volume_error_percent")
CLASSIFICATION_SCORES = (
    "auroc",
    "average_precision",
    "balanced_accuracy",
    "calibration_error",
    "brier",
)


@dataclass(frozen=True)
class LabelScores:
    """How well one label of one case was found.

    Attributes:
        dice: Overlap, ``2 |A ∩ B| / (|A| + |B|)``.
        nsd: Normalised surface Dice: share of both surfaces that lies within the tolerance of the
            other.
        hd95_mm: 95th percentile of the distance from one surface to the other; the worse direction.
        volume_error_ml: Predicted minus reference volume.
        volume_error_percent: The same, as a percentage of the reference.
        reference_ml: Volume of the reference.
        predicted_ml: Volume of the prediction.
    """

    dice: float
    nsd: float
    hd95_mm: float
    volume_error_ml: float
    volume_error_percent: float
    reference_ml: float
    predicted_ml: float


def segmentation_scores(
    predicted: IntArray,
    reference: IntArray,
    *,
    labels: Mapping[str, int],
    spacing_mm: Sequence[float],
    nsd_tolerance_mm: float = 2.0,
) -> dict[str, LabelScores]:
    """Score every label of one case.

    Args:
        predicted: ``(X, Y, Z)`` or ``(X, Y)``, the label value of each voxel.
        reference: The same grid, by hand.
        labels: Name of each label and its value; the background is not listed.
        spacing_mm: Distance of voxel centres along each axis.
        nsd_tolerance_mm: How far two surfaces may lie apart and still agree.

    Raises:
        ValueError: If the grids differ or the spacing does not fit them.
    """
    _check_grids(predicted.shape, reference.shape, spacing_mm)
    return {
        name: label_scores(
            predicted == value,
            reference == value,
            spacing_mm=spacing_mm,
            nsd_tolerance_mm=nsd_tolerance_mm,
        )
        for name, value in labels.items()
    }


def label_scores(
    predicted: Mask, reference: Mask, *, spacing_mm: Sequence[float], nsd_tolerance_mm: float = 2.0
) -> LabelScores:
    """Score one binary mask against another; a planar mask counts as 1 mm thick.

    Raises:
        ValueError: If the grids differ or the spacing does not fit them.
    """
    _check_grids(predicted.shape, reference.shape, spacing_mm)
    voxel_ml = math.prod(spacing_mm) / 1000.0
    count_predicted, count_reference = int(predicted.sum()), int(reference.sum())
    both = int(np.logical_and(predicted, reference).sum())
    total = count_predicted + count_reference
    error_ml = (count_predicted - count_reference) * voxel_ml
    nsd, hd95_mm = _surface_scores(predicted, reference, spacing_mm, nsd_tolerance_mm)
    return LabelScores(
        dice=2.0 * both / total if total else math.nan,
        nsd=nsd,
        hd95_mm=hd95_mm,
        volume_error_ml=error_ml,
        volume_error_percent=(
            100.0 * (count_predicted / count_reference - 1.0) if count_reference else math.nan
        ),
        reference_ml=count_reference * voxel_ml,
        predicted_ml=count_predicted * voxel_ml,
    )


def _surface_scores(
    predicted: Mask, reference: Mask, spacing_mm: Sequence[float], tolerance_mm: float
) -> tuple[float, float]:
    """Return the normalised surface Dice and the 95th percentile distance in millimetres."""
    if not predicted.any() and not reference.any():
        return math.nan, math.nan
    if not predicted.any() or not reference.any():
        return 0.0, math.hypot(*(n * s for n, s in zip(predicted.shape, spacing_mm, strict=True)))
    there, back = surface_distances_mm(predicted, reference, spacing_mm=spacing_mm)
    # A hair's breadth of slack: a distance of exactly the tolerance must not depend on rounding.
    limit = tolerance_mm + 1e-6
    near = int((there <= limit).sum() + (back <= limit).sum())
    hd95_mm = max(float(np.percentile(there, 95)), float(np.percentile(back, 95)))
    return near / (there.size + back.size), hd95_mm


def surface_distances_mm(
    first: Mask, second: Mask, *, spacing_mm: Sequence[float]
) -> tuple[Float64, Float64]:
    """Measure how far each surface voxel of a mask lies from the other mask's surface.

    The surface is made of the voxels of a mask that touch, by a face, what is not the mask. Only
    the box that holds both masks is looked at, which makes a small organ in a large scan cheap.

    Args:
        first: ``(X, Y, Z)`` or ``(X, Y)``, not empty.
        second: The same grid, not empty.
        spacing_mm: Distance of voxel centres along each axis.

    Returns:
        Distances from the first surface to the second, and from the second to the first.
    """
    (box,) = ndimage.find_objects(np.logical_or(first, second).astype(np.int8))
    surfaces = [mask[box] & ~ndimage.binary_erosion(mask[box]) for mask in (first, second)]
    fields = [ndimage.distance_transform_edt(~s, sampling=tuple(spacing_mm)) for s in surfaces]
    return fields[1][surfaces[0]], fields[0][surfaces[1]]


def _check_grids(
    predicted: tuple[int, ...], reference: tuple[int, ...], spacing_mm: Sequence[float]
) -> None:
    if predicted != reference or len(spacing_mm) != len(reference):
        raise ValueError(
            f"a mask of {predicted} voxels, a reference of {reference} and {len(spacing_mm)} "
            "spacings do not describe one grid; bring the mask to the grid of the reference first"
        )


def classification_scores(targets: IntArray, probabilities: Float64) -> dict[str, float]:
    """Score class probabilities against the true classes.

    AUROC and average precision of more than two classes are means over one-against-rest problems.
    Where a score needs a class that no case has, it is NaN.

    Args:
        targets: ``(n,)``, the index of the true class.
        probabilities: ``(n, classes)``, rows that sum to 1; at least two classes.

    Returns:
        One number for each of :data:`CLASSIFICATION_SCORES`.

    Raises:
        ValueError: If the shapes or values do not fit each other.
    """
    _check_probabilities(targets, probabilities)
    classes = np.arange(probabilities.shape[1])
    present = np.isin(classes, targets)
    # For two classes the problem seen from either side is the same one; the second class is
    # "positive".
    ranked = classes[1:] if len(classes) == 2 else classes
    auroc, precision = [], []
    for index in ranked[present[ranked]]:
        positive = targets == index
        if positive.all():
            continue
        auroc.append(area_under_roc(positive, probabilities[:, index]))
        precision.append(average_precision(positive, probabilities[:, index]))
    guesses = probabilities.argmax(axis=1)
    recalls = [(guesses[targets == index] == index).mean() for index in classes[present]]
    squares = ((probabilities - np.eye(len(classes))[targets]) ** 2).sum(axis=1)
    return {
        "auroc": _mean(auroc),
        "average_precision": _mean(precision),
        "balanced_accuracy": _mean(recalls),
        "calibration_error": expected_calibration_error(targets, probabilities),
        # Halved for two classes, so that the worst value is 1, as scikit-learn and the literature
        # do.
        "brier": float(squares.mean()) / (2.0 if len(classes) == 2 else 1.0),
    }


def area_under_roc(positive: Mask, scores: Float64) -> float:
    """Return how often a positive case scores higher than a negative one; ties count half.

    The same number as scikit-learn's, a hundred times faster on small tables, which is what a
    bootstrap is made of.

    Args:
        positive: ``(n,)``, with both kinds of cases.
        scores: ``(n,)``.
    """
    ranks = scipy.stats.rankdata(scores)
    count = int(positive.sum())
    wins = ranks[positive].sum() - count * (count + 1) / 2
    return float(wins / (count * (len(positive) - count)))


def average_precision(positive: Mask, scores: Float64) -> float:
    """Return the mean precision over the recalls that thresholds on the scores can reach.

    Args:
        positive: ``(n,)``, with at least one positive case.
        scores: ``(n,)``.
    """
    order = np.argsort(-scores, kind="stable")
    # Cases with one score are found together, so only the last of them is a threshold.
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    found = np.cumsum(positive[order])[last]
    recalled = np.diff(found, prepend=0) / found[-1]
    return float((recalled * found / (last + 1)).sum())


def expected_calibration_error(
    targets: IntArray, probabilities: Float64, *, bins: int = 10
) -> float:
    """Return how far stated confidence and real accuracy lie apart, on average over the cases.

    Cases are put into bins of equal width by the probability of their most likely class.

    Args:
        targets: ``(n,)``, the index of the true class.
        probabilities: ``(n, classes)``.
        bins: Number of bins between 0 and 1.
    """
    confidence = probabilities.max(axis=1)
    correct = (probabilities.argmax(axis=1) == targets).astype(np.float64)
    index = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(index, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(targets))


def _check_probabilities(targets: IntArray, probabilities: Float64) -> None:
    if probabilities.ndim != 2 or probabilities.shape[1] < 2 or len(targets) != len(probabilities):
        raise ValueError(
            f"{len(targets)} targets and probabilities of shape {probabilities.shape} do not fit; "
            "expected one row a case and one column a class"
        )
    if len(targets) == 0:
        raise ValueError("there is no case to score; give at least one")
    if targets.min() < 0 or targets.max() >= probabilities.shape[1]:
        raise ValueError(
            f"targets run from {targets.min()} to {targets.max()}, but there are "
            f"{probabilities.shape[1]} classes, numbered from 0"
        )
    if np.abs(probabilities.sum(axis=1) - 1.0).max() > 1e-3 or probabilities.min() < 0.0:
        raise ValueError("the probabilities of a case must be positive and sum to 1")


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else math.nan
