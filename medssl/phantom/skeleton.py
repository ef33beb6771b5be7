"""Ribs, breastbone, spine, sacrum and hips: rims of cortical bone around spongy bone."""

from __future__ import annotations

from typing import Final

import numpy as np

from medssl.phantom.canvas import Canvas, Region
from medssl.phantom.noise import Array
from medssl.phantom.organs import ORGANS
from medssl.phantom.shapes import Points, Shape, blend, carve, ellipsoid, segment

__all__ = ["draw_skeleton"]

_VERTEBRA_MM: Final = 27.0
"""Height of a vertebra with its disc; ribs follow the same beat."""
_SACRUM_TOP_MM: Final = -163.0
_LOWEST_RIB_MM: Final = -21.0
_RIB_SLOPE: Final = 0.48


def draw_skeleton(canvas: Canvas) -> None:
    """Draw all bones, after the organs: what touches a bone gives way to it."""
    _draw_ribs(canvas)
    _draw_breastbone(canvas)
    _draw_shoulder_blades(canvas)
    _draw_spine(canvas)
    _draw_pelvis(canvas)


def _spine_line(z: Array, curve_mm: float) -> tuple[Array, Array]:
    """Return x and y of the middle of the vertebral bodies at each height."""
    lumbar: Array = np.exp(-(((z + 105) / 62) ** 2))
    thoracic = np.exp(-(((z - 115) / 75) ** 2))
    x: Array = np.float32(curve_mm) * np.sin(z * np.float32(1 / 95))
    y: Array = 9 * lumbar - 5 * thoracic - np.float32(41)
    return x, y


def _draw_bone(canvas: Canvas, region: Region, name: str, *, rim_mm: float) -> None:
    """Draw a bone whose hard rim is ``rim_mm`` thick."""
    canvas.paint(region, "cortical_bone", organ=ORGANS[name])
    canvas.paint(region, "spongy_bone", grow_mm=-rim_mm)


def _beat(points: Points) -> tuple[Array, Array]:
    """Return the height of the nearest rib's root, and how far each place is from that rib."""
    height = points.z + np.float32(_RIB_SLOPE) * (points.y + 55)
    height += np.abs(points.x) * np.float32(0.22)
    step = np.rint((height - _LOWEST_RIB_MM) * np.float32(1 / _VERTEBRA_MM))
    root: Array = step * np.float32(_VERTEBRA_MM) + np.float32(_LOWEST_RIB_MM)
    return root, height - root


def _draw_ribs(canvas: Canvas) -> None:
    """Draw sloping hoops in the wall of the chest: bone, and cartilage in front."""
    lining = Shape(lambda p: p.cage, (-165, -110, -110), (165, 120, 255))
    region = canvas.region(lining)
    points = region.points
    root, off = _beat(points)
    across = (points.cage - np.float32(5.5)) * np.float32(1 / 4.0)
    along = off * np.float32(0.9 / 6.8)
    hoop: Array = (np.sqrt(across * across + along * along) - 1) * np.float32(4.6)
    floating = np.float32(_LOWEST_RIB_MM - 4) - root
    # Lower ribs end further back; the two lowest float free of the costal arch.
    bone_front = np.clip(8 + (root - _LOWEST_RIB_MM) * np.float32(0.62), -30, 52)
    spine_side = np.float32(16) - np.abs(points.x)
    front = points.y - bone_front
    ribs = Region(region.box, np.maximum(np.maximum(hoop, floating), spine_side), points)
    arch = np.maximum(np.float32(30 + _LOWEST_RIB_MM) - root, -front)
    breast = np.maximum(np.float32(24) - np.abs(points.x), points.z - 190)
    canvas.paint(ribs, "cartilage", within=(arch, breast))
    ribs = Region(region.box, np.maximum(ribs.distance, front), points)
    _draw_bone(canvas, ribs, "ribs", rim_mm=1.8)


def _draw_breastbone(canvas: Canvas) -> None:
    """Draw the plate between the ribs in front."""

    def distance(points: Points) -> Array:
        width = 15 + np.clip((points.z - 130) * np.float32(0.16), -4, 12)
        plate = np.abs(points.cage - np.float32(6)) - np.float32(5)
        ends = np.maximum(points.z - 196, 38 - points.z)
        found: Array = np.maximum(np.maximum(np.abs(points.x) - width, plate), ends)
        return found

    region = canvas.region(Shape(distance, (-30, 40, 36), (30, 125, 200)))
    _draw_bone(canvas, region, "ribs", rim_mm=1.6)


def _draw_shoulder_blades(canvas: Canvas) -> None:
    """Draw the thin plates behind the upper ribs."""

    def distance(points: Points) -> Array:
        off = ((np.abs(points.x) - 84 + (points.z - 160) * np.float32(0.12)) / 34) ** 2
        plate = np.sqrt(off + ((points.z - 182) / 66) ** 2) - 1
        thick = np.abs(points.cage - np.float32(17)) - np.float32(2.6)
        found: Array = np.maximum(np.maximum(plate * 30, thick), points.y + 12)
        return found

    region = canvas.region(Shape(distance, (-130, -110, 110), (130, -5, 250)))
    _draw_bone(canvas, region, "ribs", rim_mm=1.6)


def _draw_spine(canvas: Canvas) -> None:
    """Draw discs, canal and cord, then the vertebrae."""
    region = canvas.region(
        Shape(lambda p: p.z, (-45, -115, _SACRUM_TOP_MM - 8), (45, -5, 330)),
    )
    points = region.points
    middle_x, middle_y = _spine_line(points.z, canvas.physique.curve_mm)
    x, y = points.x - middle_x, points.y - middle_y
    lumbar = np.clip((60 - points.z) * np.float32(1 / 200), 0, 1)
    turn = (points.z - np.float32(_SACRUM_TOP_MM)) * np.float32(1 / _VERTEBRA_MM) - np.float32(0.5)
    level = (turn - np.rint(turn)) * np.float32(_VERTEBRA_MM)
    below = np.float32(_SACRUM_TOP_MM) - points.z

    body = _body(x, y, lumbar)
    canvas.paint(Region(region.box, body - 1, points), "disc", within=(below,))
    canal: Array = np.sqrt(x * x * np.float32(0.7) + (y + 27) ** 2)
    canvas.paint(Region(region.box, canal - 8, points), "spinal_fluid", within=(below - 60,))
    canvas.paint(Region(region.box, canal - 4.6, points), "spinal_cord", within=(-30 - points.z,))
    waist: Array = 2 - (level * level) * np.float32(2 / 100)
    plates = np.abs(level) - np.float32(10.4)
    bodies: Array = np.maximum(np.maximum(body + waist, plates), below)
    _draw_bone(canvas, Region(region.box, bodies, points), "vertebrae", rim_mm=2.0)
    arches: Array = np.maximum(_arches(x, y, level, canal), below)
    _draw_bone(canvas, Region(region.box, arches, points), "vertebrae", rim_mm=2.6)


def _body(x: Array, y: Array, lumbar: Array) -> Array:
    """Return the distance to the column of vertebral bodies: kidney-shaped, flat behind."""
    wide, deep = 18 + 6 * lumbar, 15.5 + 3 * lumbar
    length = np.sqrt((x / wide) ** 2 + (y / deep) ** 2)
    found: Array = np.maximum((length - 1) * deep, -y - deep * np.float32(0.84))
    return found


def _arches(x: Array, y: Array, level: Array, canal: Array) -> Array:
    """Return the distance to the ring around the canal and the processes that stand out from it."""
    ring = np.maximum(np.abs(canal - np.float32(11)) - 3, np.abs(level + 1) - np.float32(8.5))
    spike = np.maximum(np.abs(x) - np.float32(3.2), np.abs(level + 5) - np.float32(7.5))
    spike = np.maximum(spike, np.abs(y + 44) - np.float32(9))
    wing = np.sqrt((y + 25) ** 2 + (level - 3) ** 2) - np.float32(4.6)
    wing = np.maximum(wing, np.abs(x) - np.float32(34))
    wing = np.maximum(wing, np.float32(9) - canal)
    found: Array = np.minimum(np.minimum(ring, spike), wing)
    return found


def _draw_pelvis(canvas: Canvas) -> None:
    """Draw the sacrum, and on each side a wing, a socket and the head of the thigh bone."""
    sacrum = blend(
        ellipsoid((0, -53, -176), (44, 15, 20), turn=(24, 0, 0)),
        ellipsoid((0, -66, -202), (32, 11, 22), turn=(10, 0, 0)),
        ellipsoid((0, -70, -232), (17, 7, 22), turn=(-14, 0, 0)),
        blend_mm=10,
    )
    foramina = tuple(
        segment((side * 17, -90, z), (side * 17, -30, z), (3.5, 3.5))
        for side in (1, -1)
        for z in (-182, -203)
    )
    _draw_bone(canvas, canvas.region(carve(sacrum, *foramina)), "pelvis", rim_mm=2.2)
    for side in (1, -1):
        _draw_bone(canvas, canvas.region(_hip(side)), "pelvis", rim_mm=2.4)
        socket = ellipsoid((side * 84, 6, -232), (31, 29, 28))
        joint = ellipsoid((side * 88, 5, -236), (26, 25, 25))
        head = ellipsoid((side * 89, 5, -237), (23, 23, 22))
        shaft = segment((side * 92, 4, -240), (side * 130, -8, -290), (15, 14))
        _draw_bone(canvas, canvas.region(carve(socket, joint, blend_mm=2)), "pelvis", rim_mm=2.6)
        canvas.paint(canvas.region(joint), "cartilage")
        _draw_bone(canvas, canvas.region(blend(head, shaft, blend_mm=8)), "pelvis", rim_mm=2.2)


def _hip(side: int) -> Shape:
    """Return the wing of the hip bone: a piece of a bowl, thick below and thin above."""
    bowl = ellipsoid((0, -6, -122), (119, 80, 134))

    def distance(points: Points) -> Array:
        down = np.clip((-135 - points.z) * np.float32(1 / 95), 0, 1)
        thick = 3.6 + 4.5 * down
        crest = points.z + 122 + (points.y + 18) ** 2 * np.float32(0.0135)
        reach = np.abs(points.y + 18 - 22 * down) - (58 - 32 * down)
        middle = np.float32(34) - side * points.x
        found: Array = np.abs(bowl.distance(points)) - thick
        for bound in (crest * np.float32(0.7), reach, middle):
            found = np.maximum(found, bound)
        return found

    low, high = sorted((side * 25.0, side * 125.0))
    return Shape(distance, (low, -95, -262), (high, 70, -115))
