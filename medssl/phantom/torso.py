"""The trunk: outline, muscles, inner lining and diaphragm, as fields that the organs adapt to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from medssl.phantom.noise import Array
from medssl.phantom.physique import Physique
from medssl.phantom.shapes import Points

__all__ = ["Torso"]

_LEVELS_MM: Final = np.array([-270.0, -200, -130, -60, 0, 60, 130, 200, 270])
"""Hips, pelvis, belt, waist, lower ribs, liver, heart, armpits, neck: where profiles are known."""
_HALF_WIDTH_MM: Final = (163, 163, 144, 133, 139, 147, 150, 146, 128)
_HALF_DEPTH_MM: Final = (97, 96, 89, 89, 98, 103, 98, 85, 70)
_MUSCLE_MM: Final = (26, 19, 13, 11, 12, 14, 17, 24, 34)
_FAT_SHARE: Final = (1.5, 1.45, 1.3, 1.1, 0.85, 0.65, 0.55, 0.55, 0.6)


class Torso:
    """The trunk of one subject, in millimetres of the body.

    Args:
        physique: The subject.
    """

    def __init__(self, physique: Physique) -> None:
        belly = 1 + 0.13 * physique.belly * np.exp(-(((_LEVELS_MM + 60) / 80) ** 2))
        self.physique = physique
        self._half_width = _Profile(_HALF_WIDTH_MM)
        self._half_depth = _Profile(_HALF_DEPTH_MM * belly)
        self._muscle = _Profile(np.multiply(_MUSCLE_MM, physique.muscle))
        self._fat = _Profile(np.multiply(_FAT_SHARE, physique.fat_mm))

    def locate(self, x: Array, y: Array, z: Array) -> Points:
        """Say for each place how it lies to the wall, the inner lining and the diaphragm."""
        height = np.clip(z * np.float32(1 / 270), -1, 1)
        wall = self._outside_muscle(x, y, height)
        cage = wall + self._muscle(height) * _muscle_share(x, y) + _posterior_wall(x, y, height)
        return Points(x, y, z, wall, cage, self._above_diaphragm(x, y, z))

    def skin(self, points: Points) -> Array:
        """Return the distance outside the skin, for the points of a grid."""
        height = np.clip(points.z * np.float32(1 / 270), -1, 1)
        # Fat gathers at the front of the belly and over the loins, least along the spine.
        forward = np.clip(points.y * np.float32(0.01), -0.6, 1)
        inward = np.clip(1.15 - np.abs(points.x) * np.float32(0.004), 0, 1)
        share = 1 + forward * inward * np.float32(0.35)
        found: Array = points.wall - self._fat(height) * share
        return found

    def _outside_muscle(self, x: Array, y: Array, height: Array) -> Array:
        """Return the distance outside the muscles, along the ray from the middle of the trunk."""
        across, ahead = x / self._half_width(height), y / self._half_depth(height)
        across, ahead = across * across, ahead * ahead
        # Between an ellipse (2) and a rounded box (0): flatter front and back than an ellipse.
        fourth = across * across + ahead * ahead + np.float32(1.25) * across * ahead
        radius = np.sqrt(np.sqrt(fourth))
        wall: Array = np.sqrt(x * x + y * y) * (1 - 1 / np.maximum(radius, np.float32(0.05)))
        return wall

    def _above_diaphragm(self, x: Array, y: Array, z: Array) -> Array:
        """Return the height above the two domes of the diaphragm, shortened where it is steep."""
        ahead = (y - 6) * (y - 6)
        right = np.exp(((x - 66) ** 2 + ahead) * np.float32(-1 / 5200))
        left = np.exp(((x + 72) ** 2 + ahead) * np.float32(-1 / 5000))
        floor = -55 - np.float32(self.physique.breath_mm) + 98 * right + 83 * left
        found: Array = (z - floor) * np.float32(0.82)
        return found


def _muscle_share(x: Array, y: Array) -> Array:
    """Return how thick the muscle is: thin in front, but for a band on each side of the midline."""
    front = np.clip(y * np.float32(1 / 70), 0, 1)
    band = np.exp((np.abs(x) - 38) ** 2 * np.float32(-1 / 700))
    found: Array = np.float32(1.08) - front * (np.float32(0.62) - np.float32(0.55) * band)
    return found


def _posterior_wall(x: Array, y: Array, height: Array) -> Array:
    """Return how much thicker the wall is beside the spine and behind the hips, in millimetres."""
    gutter = np.exp(x * x * np.float32(-1 / 1900)) * np.clip(y * np.float32(-1 / 55), 0, 1)
    hips = np.clip((height + np.float32(0.46)) * -4, 0, 1)
    buttock = hips * np.clip((35 - y) * np.float32(1 / 70), 0, 1)
    found: Array = 25 * gutter + 38 * buttock
    return found


class _Profile:
    """A smooth function of the height in the body, -1 to 1, through values at the known levels."""

    def __init__(self, values: Sequence[float] | npt.NDArray[np.float64]) -> None:
        fitted = np.polynomial.Polynomial.fit(_LEVELS_MM / 270, values, 5, domain=[-1, 1])
        self._coefficients = fitted.coef.astype(np.float32)

    def __call__(self, height: Array) -> Array:
        found = np.full_like(height, self._coefficients[-1])
        for coefficient in self._coefficients[-2::-1]:
            found *= height
            found += coefficient
        return found
