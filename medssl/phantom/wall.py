"""Skin, fat and muscles: what wraps the organs."""

from __future__ import annotations

import numpy as np

from medssl.phantom.canvas import Canvas, Region
from medssl.phantom.shapes import Shape, ellipsoid, in_cavity, meet, tube

__all__ = ["draw_wall"]

_SKIN_MM = 2.5


def draw_wall(canvas: Canvas) -> None:
    """Fill the body from the skin inwards: skin, fat, muscles, fat around the organs to come."""
    everywhere = (slice(None), slice(None), slice(None))
    points = canvas.points
    skin = Region(everywhere, canvas.torso.skin(points), points)
    canvas.paint(skin, "skin")
    canvas.paint(skin, "fat", grow_mm=-_SKIN_MM)
    canvas.paint(Region(everywhere, points.wall, points), "muscle")
    canvas.paint(Region(everywhere, points.cage, points), "visceral_fat")
    _draw_fat_planes(canvas)
    for side in (1, -1):
        for muscle in _deep_muscles(side):
            canvas.paint(canvas.region(*muscle), "muscle")


def _draw_fat_planes(canvas: Canvas) -> None:
    """Part the muscles of the belly wall and the buttocks by thin planes of fat."""
    region = canvas.region(Shape(lambda p: p.wall, (-190, -140, -260), (190, 140, 40)))
    points, thin = region.points, np.float32(min(1.0, 2.2 / canvas.edge_mm))
    aside = np.float32(18) - np.abs(points.x)
    for depth_mm in (4.5, 8.5, 25.0):
        plane = Region(region.box, np.abs(points.wall + np.float32(depth_mm)) - 1.1, points)
        inside = np.float32(3.0) - points.cage
        canvas.paint(plane, "fat", within=(aside, inside), share=np.full_like(aside, thin))


def _deep_muscles(side: int) -> tuple[tuple[Shape, ...], ...]:
    """Return the muscles that lie inside the wall, of one side."""
    psoas = tube(
        (side * 27, -44, -48, 8),
        (side * 35, -38, -105, 15),
        (side * 46, -22, -160, 18),
        (side * 66, 24, -225, 18),
        (side * 78, 38, -275, 16),
    )
    loin = meet(
        ellipsoid((side * 56, -58, -92), (17, 8, 52), turn=(0, side * 6.0, side * 20.0)),
        in_cavity(-6),
    )
    return psoas, (loin,)
