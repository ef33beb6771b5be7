"""Predictions beside the truth, painted over the anatomy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from medssl.report.panels import label_overlay
from medssl.types import FloatArray, IntArray, Picture

__all__ = ["prediction_picture"]


def prediction_picture(
    image: FloatArray, predicted: Mapping[str, IntArray], truth: IntArray
) -> Picture:
    """Show a case in the axial slice that holds most of what is to be found.

    The case is not named: a report may be mailed.

    Args:
        image: ``(X, Y, Z)`` or ``(X, Y)`` intensities.
        predicted: Label values on the same grid, by the name of the prediction.
        truth: The same, by hand.
    """
    level = _busiest_level(truth)
    plane = _axial(image, level)
    low, high = (float(value) for value in np.percentile(plane, [0.5, 99.5]))
    masks = {**predicted, "true": truth}
    return Picture(
        title="Predicted and true labels",
        panels=(
            ("image", plane),
            *(
                (name, label_overlay(plane, _axial(mask, level), window=(low, high)))
                for name, mask in masks.items()
            ),
        ),
        caption="The axial slice that holds most of the true labels.",
    )


def _axial(array: npt.NDArray[Any], level: int) -> npt.NDArray[Any]:
    return array[..., level] if array.ndim == 3 else array


def _busiest_level(truth: IntArray) -> int:
    """Return the axial slice that holds most of the labels, the middle one if there are none."""
    if truth.ndim == 2 or not truth.any():
        return int(truth.shape[-1] // 2)
    counts = (truth > 0).sum(axis=(0, 1))
    return int(counts.argmax())
