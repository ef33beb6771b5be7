"""What makes one subject differ from the next before any organ is drawn: build, pose and class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from medssl.phantom.noise import stream
from medssl.phantom.shapes import Vector

__all__ = ["SUBJECT_CLASSES", "Physique", "draw_physique"]

SUBJECT_CLASSES: Final[Mapping[str, int]] = {"unremarkable": 0, "lesions": 1, "single_kidney": 2}
"""The class of a subject, drawn with equal chances: nothing to see, one to four lesions in liver or
lungs, or a kidney missing on either side."""


@dataclass(frozen=True)
class Physique:
    """The build of one subject and how it lies in the scanner.

    Attributes:
        seed: The subject.
        subject_class: A value of :data:`SUBJECT_CLASSES`.
        stretch: Size along x, y and z against the reference adult.
        rotation: ``(3, 3)``, from the body's axes to the scanner's.
        shift_mm: Where the middle of the body lies in the scanner.
        fat_mm: Thickness of the fat under the skin at the flanks.
        muscle: Thickness of the muscles against the reference.
        breath_mm: How much lower than at rest the diaphragm stands.
        belly: How far the belly bulges, about -0.5 to 1.
        curve_mm: Sideways bend of the spine.
    """

    seed: int
    subject_class: int
    stretch: Vector
    rotation: npt.NDArray[np.float64]
    shift_mm: Vector
    fat_mm: float
    muscle: float
    breath_mm: float
    belly: float
    curve_mm: float

    @cached_property
    def into_body(self) -> npt.NDArray[np.float64]:
        """``(3, 3)``, from scanner millimetres, less the shift, to those of the reference adult."""
        inverse: npt.NDArray[np.float64] = self.rotation.T / np.asarray(self.stretch)[:, None]
        return inverse

    @cached_property
    def out_of_body(self) -> npt.NDArray[np.float64]:
        """``(3, 3)``, the way back: from millimetres of the reference adult to the scanner's."""
        forward: npt.NDArray[np.float64] = self.rotation * np.asarray(self.stretch)
        return forward


def draw_physique(seed: int) -> Physique:
    """Draw the build, pose and class of a subject."""
    generator = stream(seed, "physique")
    subject_class = int(generator.integers(len(SUBJECT_CLASSES)))
    size = generator.normal(0.0, 0.035)
    width, depth, height = np.exp(size + generator.normal(0.0, (0.03, 0.04, 0.03)))
    angles = np.clip(generator.normal(0.0, (2.0, 2.0, 4.0)), -9, 9)
    fat_mm = float(np.clip(np.exp(generator.normal(2.6, 0.45)), 5, 34))
    return Physique(
        seed=seed,
        subject_class=subject_class,
        stretch=(float(width), float(depth), float(height)),
        rotation=Rotation.from_euler("xyz", angles, degrees=True).as_matrix(),
        shift_mm=_clipped(generator, (5.0, 5.0, 9.0)),
        fat_mm=fat_mm,
        muscle=float(generator.uniform(0.85, 1.2)),
        breath_mm=float(np.clip(generator.normal(0.0, 8.0), -14, 18)),
        belly=float(np.clip(generator.normal((fat_mm - 13) / 18, 0.35), -0.5, 1.2)),
        curve_mm=float(np.clip(generator.normal(0.0, 3.0), -6, 6)),
    )


def _clipped(generator: np.random.Generator, deviations: Vector) -> Vector:
    """Draw three normal numbers within two deviations of zero."""
    x, y, z = np.clip(generator.standard_normal(3), -2, 2) * deviations
    return float(x), float(y), float(z)
