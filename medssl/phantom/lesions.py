"""Lesions in the liver and the lungs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from medssl.phantom.canvas import Canvas
from medssl.phantom.organs import ORGANS
from medssl.phantom.physique import SUBJECT_CLASSES
from medssl.phantom.shapes import Shape, Vector, blend, ellipsoid

__all__ = ["draw_lesions"]

_RADIUS_MM: Final = {"liver": (9.0, 21.0), "lung_right": (7.0, 16.0), "lung_left": (7.0, 16.0)}
_MOST_LESIONS: Final = 4
_TRIES: Final = 400


def draw_lesions(
    canvas: Canvas, hosts: Mapping[str, Shape], generator: np.random.Generator
) -> None:
    """Draw one to four lesions in a subject of that class, none in the others.

    Args:
        canvas: Where.
        hosts: The organs that may hold one, by name.
        generator: Random numbers of this subject's lesions.
    """
    if canvas.physique.subject_class != SUBJECT_CLASSES["lesions"]:
        return
    names = sorted(hosts)
    for _ in range(int(generator.integers(1, _MOST_LESIONS + 1))):
        name = names[int(generator.integers(len(names)))]
        radius_mm = float(generator.uniform(*_RADIUS_MM[name]))
        tissue = "liver_lesion" if name == "liver" else "lung_lesion"
        center = _spot(canvas, hosts[name], radius_mm, generator)
        region = canvas.region(_lobulated(center, radius_mm, generator))
        canvas.paint(region, tissue, organ=ORGANS["lesion"])


def _spot(canvas: Canvas, host: Shape, radius_mm: float, generator: np.random.Generator) -> Vector:
    """Return a random place in an organ, deep enough to hold most of a lesion.

    Places are drawn in the body, not on the grid, so that every grid and modality shows the same
    lesion.
    """
    low, high = np.asarray(host.low), np.asarray(host.high)
    bound = np.array([170.0, 130.0, 290.0])
    spots = generator.uniform(np.maximum(low, -bound), np.minimum(high, bound), (_TRIES, 3))
    x, y, z = spots.astype(np.float32).T
    depth = host.distance(canvas.torso.locate(x, y, z))
    deep = np.flatnonzero(depth < -0.9 * radius_mm)
    best = int(deep[0]) if deep.size else int(np.argmin(depth))
    return float(x[best]), float(y[best]), float(z[best])


def _lobulated(center: Vector, radius_mm: float, generator: np.random.Generator) -> Shape:
    """Return a few lumps grown together."""
    lumps = []
    for _ in range(3):
        offset = generator.normal(0.0, 0.28 * radius_mm, 3)
        radii = radius_mm * generator.uniform(0.6, 0.95, 3)
        x, y, z = (float(value) for value in np.add(center, offset))
        a, b, c = (float(value) for value in radii)
        lumps.append(ellipsoid((x, y, z), (a, b, c)))
    return blend(*lumps, blend_mm=0.4 * radius_mm)
