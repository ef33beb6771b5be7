"""Colon, duodenum and the loops of the small bowel, with gas, fluid and stool."""

from __future__ import annotations

from typing import Final

import numpy as np

from medssl.phantom.canvas import Canvas, Region
from medssl.phantom.noise import Array
from medssl.phantom.shapes import Shape, ellipsoid, in_cavity, meet, tube

__all__ = ["draw_bowel"]

_COLON: Final = tube(
    (78, 8, -168, 19),
    (90, -14, -130, 20),
    (94, -22, -92, 20),
    (86, 18, -72, 19),
    (52, 56, -84, 18),
    (0, 66, -92, 17),
    (-50, 52, -74, 17),
    (-88, 8, -40, 17),
    (-98, -20, -60, 15),
    (-98, -26, -110, 14),
    (-88, -10, -158, 14),
    (-56, 4, -186, 14),
    (-18, -22, -180, 14),
    (0, -46, -205, 16),
    (0, -46, -240, 16),
    (0, -54, -275, 12),
)
_DUODENUM: Final = tube(
    (26, 26, -46, 11), (48, 12, -58, 12), (48, 6, -96, 12), (18, 4, -108, 11), (-22, 8, -96, 11)
)
_LUMPS_PITCH_MM: Final = 32.0


def draw_bowel(canvas: Canvas, generator: np.random.Generator) -> None:
    """Draw the bowel and the vessels that run to it, before the organs that lie over it."""
    _draw_mesentery(canvas)
    _draw_loops(canvas, generator)
    _draw_duodenum(canvas)
    _draw_colon(canvas, generator)


def _belly(gap_mm: float) -> Shape:
    """Return where loops of bowel may lie: the front of the belly down into the pelvis."""
    return meet(ellipsoid((0, 18, -128), (112, 78, 104)), in_cavity(gap_mm), blend_mm=10)


def _draw_mesentery(canvas: Canvas) -> None:
    """Draw small vessels in the fat between the loops."""
    region = canvas.region(_belly(5))
    distance = canvas.tangle("vessels", 19.0, region.box) - np.float32(1.7)
    share = np.full_like(distance, min(1.0, 3.0 / canvas.edge_mm))
    vessels = Region(region.box, distance, region.points)
    canvas.paint(vessels, "vessel", within=(region.distance,), share=share)


def _draw_loops(canvas: Canvas, generator: np.random.Generator) -> None:
    """Draw loops of small bowel: walls that take up contrast around fluid and some gas.

    Loops lie in rows that wind from side to side; each row is drawn on its own, so that neighbours
    keep their walls.
    """
    lumps = canvas.field("lumps", _LUMPS_PITCH_MM)
    amount = float(generator.uniform(-1.9, -0.9))
    for row in _rows(generator):
        region = canvas.region(*row)
        inside = np.maximum(region.points.cage + 4, -14 - region.points.y)
        loop = Region(region.box, np.maximum(region.distance, inside), region.points)
        canvas.paint(loop, "visceral_fat", grow_mm=1.2, organ=0)
        canvas.paint(loop, "bowel_wall")
        canvas.paint(loop, "bowel_content", grow_mm=-2.4)
        bubbles = _bubbles(lumps, loop, amount=amount)
        canvas.paint(loop, "gas", grow_mm=-3.0, within=(bubbles,))


def _rows(generator: np.random.Generator) -> list[tuple[Shape, ...]]:
    """Return the loops of small bowel, from behind to the front."""
    rows = []
    for ahead in (14.0, 44.0):
        for height in np.arange(-92.0, -205.0, -25.0):
            across = np.arange(-66.0, 70.0, 22.0) + generator.normal(0, 9)
            wave = 11 * np.sin(across / 17 + generator.uniform(0, 6.3))
            jitter = generator.normal(0, (6.0, 6.0, 5.0, 1.2), (len(across), 4))
            middle = np.stack([across, ahead - wave, height + wave, np.full_like(across, 11)], 1)
            kept = generator.random(len(across)) < 0.93
            x, y, z, radius = (middle + jitter)[kept].T.tolist()
            rows.append(tube(*zip(x, y, z, np.clip(radius, 8, 15).tolist(), strict=True)))
    return rows


def _draw_duodenum(canvas: Canvas) -> None:
    """Draw the duodenum around the head of the pancreas."""
    region = canvas.region(*_DUODENUM)
    canvas.paint(region, "visceral_fat", grow_mm=2, organ=0)
    canvas.paint(region, "bowel_wall", organ=0)
    canvas.paint(region, "bowel_content", grow_mm=-3)


def _draw_colon(canvas: Canvas, generator: np.random.Generator) -> None:
    """Draw the colon: a pouched wall, mottled stool, gas where it rises to the front."""
    region = canvas.region(*_COLON)
    pouches = canvas.field("lumps", _LUMPS_PITCH_MM)[region.box] * np.float32(2.2)
    distance = np.maximum(region.distance + pouches, region.points.cage + 2)
    colon = Region(region.box, distance, region.points)
    canvas.paint(colon, "visceral_fat", grow_mm=2.5, organ=0)
    canvas.paint(colon, "bowel_wall", organ=0)
    canvas.paint(colon, "stool", grow_mm=-2.8)
    lumps = canvas.field("lumps", _LUMPS_PITCH_MM)
    bubbles = _bubbles(lumps, colon, amount=float(generator.uniform(-0.9, 0.2)))
    canvas.paint(colon, "gas", grow_mm=-2.8, within=(bubbles,))


def _bubbles(lumps: Array, region: Region, *, amount: float) -> Array:
    """Return the distance to bubbles of gas; more of them towards the front."""
    rise = region.points.y * np.float32(1 / 48)
    found: Array = (lumps[region.box] - rise - np.float32(amount)) * np.float32(
        _LUMPS_PITCH_MM / 1.7
    )
    return found
