"""Lungs, airways, heart and the great vessels of the trunk."""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np

from medssl.phantom.canvas import Canvas, Region
from medssl.phantom.noise import Array
from medssl.phantom.organs import ORGANS
from medssl.phantom.shapes import (
    Points,
    Shape,
    above_diaphragm,
    blend,
    carve,
    ellipsoid,
    in_cavity,
    meet,
    tube,
    varied,
)

__all__ = ["draw_chest", "draw_trunk_vessels", "free_lung", "lung"]

_AORTA: Final = tube(
    (-8, 22, 84, 15),
    (6, 22, 112, 15.5),
    (10, 14, 142, 14.5),
    (0, -6, 160, 13.5),
    (-16, -28, 150, 13),
    (-22, -38, 120, 12),
    (-21, -37, 60, 11.5),
    (-13, -28, -5, 10.5),
    (-9, -16, -60, 9.5),
    (-6, -12, -126, 8.5),
)
_ILIACS: Final = tuple(
    rod
    for side in (1, -1)
    for rod in tube(
        (-5, -13, -128, 7),
        (side * 30, -22, -168, 6),
        (side * 58, 22, -225, 5.5),
        (side * 66, 42, -275, 5),
    )
)
_VENA_CAVA: Final = tube(
    (16, -16, -128, 9),
    (19, -14, -70, 10.5),
    (22, -10, -10, 11.5),
    (26, -4, 25, 12.5),
    (25, 8, 50, 12.5),
)
_UPPER_VEINS: Final = (
    *tube((27, 14, 82, 10), (26, 14, 148, 9), (30, 6, 185, 8)),
    *tube((26, 16, 155, 7), (-25, 20, 172, 6.5), (-40, 4, 195, 6)),
)
_NECK_ARTERIES: Final = (
    *tube((8, 4, 162, 6), (24, -2, 205, 5.5), (30, -4, 260, 5)),
    *tube((-4, -6, 170, 5), (-17, -4, 260, 4.5)),
    *tube((-12, -18, 164, 5.5), (-34, -16, 210, 5), (-60, -12, 250, 5)),
)
_LUNG_ARTERIES: Final = (
    *tube((-16, 40, 84, 13), (-15, 18, 112, 13), (-6, 2, 116, 12)),
    *tube((-6, 2, 116, 11), (22, -4, 106, 10), (46, -10, 98, 7.5)),
    *tube((-10, 4, 116, 11), (-40, -14, 112, 9), (-50, -20, 100, 7)),
)
_AIRWAYS: Final = (
    *tube((2, -14, 300, 8.5), (2, -16, 190, 8.5), (2, -18, 132, 9)),
    *tube((2, -18, 132, 7.5), (30, -20, 108, 6.5), (52, -24, 92, 4)),
    *tube((2, -18, 132, 7), (-34, -22, 108, 6), (-52, -28, 92, 4)),
)
_GULLET: Final = tube(
    (-3, -30, 300, 7), (-4, -32, 150, 7), (-6, -28, 80, 7.5), (-16, -16, 36, 8), (-34, -8, 18, 9)
)


def lung(side: int) -> Shape:
    """Return the lung of one side (1 is right): what the chest leaves free beside the middle."""

    def beside_middle(points: Points) -> Array:
        root = np.exp((points.y + 32) ** 2 * np.float32(-1 / 1500))
        found: Array = 9 + 15 * root - side * points.x + np.float32(5 * (side < 0))
        return found

    # The left lung is the smaller one: it makes room for the heart.
    reach = ellipsoid((side * 68, -8, 35), (92 if side > 0 else 87, 125, 182))
    low, high = (0.0, 170.0) if side > 0 else (-170.0, 0.0)
    middle = Shape(beside_middle, (low, -1e4, -1e4), (high, 1e4, 1e4))
    return meet(reach, in_cavity(0.5), above_diaphragm(2.5), middle, blend_mm=9)


def free_lung(side: int) -> Shape:
    """Return the part of a lung that no heart, however large, takes up."""
    return carve(lung(side), ellipsoid((-16, 22, 60), (76, 58, 68)))


def draw_chest(canvas: Canvas, generator: np.random.Generator) -> None:
    """Draw lungs with their vessels, airways, gullet and heart."""
    for side, name in ((1, "lung_right"), (-1, "lung_left")):
        region = canvas.region(lung(side))
        canvas.paint(region, "lung", organ=ORGANS[name])
        _draw_lung_vessels(canvas, region, side)
    canvas.paint(canvas.region(*_GULLET), "bowel_wall", organ=0)
    _draw_heart(canvas, generator)
    airways = canvas.region(*_AIRWAYS)
    canvas.paint(airways, "bowel_wall", grow_mm=1.6, organ=0)
    canvas.paint(airways, "gas")


def _draw_lung_vessels(canvas: Canvas, region: Region, side: int) -> None:
    """Draw vessels that thin out from the root of the lung towards its surface."""
    points = region.points
    root = np.sqrt(
        (points.x - side * 42) ** 2
        + (points.y + 14) ** 2
        + ((points.z - 98) * np.float32(0.8)) ** 2
    )
    radius = np.clip(np.float32(4.4) - root * np.float32(0.032), 0.9, 4)
    inside = region.distance + np.float32(2)
    tree = Region(region.box, canvas.tangle("bronchi", 11.0, region.box) - radius, points)
    share = np.clip(radius * np.float32(2 / canvas.edge_mm), 0, 1)
    canvas.paint(tree, "vessel", within=(inside,), share=share)


def _draw_heart(canvas: Canvas, generator: np.random.Generator) -> None:
    """Draw the heart in its fat: muscle, then the blood of the four chambers."""
    factor = np.exp(
        np.clip(generator.normal(0.0, 0.045), -0.1, 0.1) + generator.normal(0.0, 0.02, 3)
    )
    shift = generator.normal((-7.0, 0.0, 2.0), 3.0)
    shift[2] -= 0.5 * canvas.physique.breath_mm

    turn = (-28.0, 28.0, -35.0)
    whole = blend(
        ellipsoid((-40, 26, 48), (37, 33, 52), turn=turn),
        ellipsoid((-4, 44, 46), (42, 27, 37), turn=(0, 16, -12)),
        ellipsoid((-8, -4, 80), (34, 20, 22)),
        ellipsoid((29, 20, 64), (24, 27, 32)),
        blend_mm=9,
    )
    chambers = (
        (ellipsoid((-41, 25, 49), (23, 20, 38), turn=turn), "blood"),
        (ellipsoid((-2, 47, 46), (35, 19, 30), turn=(0, 16, -12)), "venous_blood"),
        (ellipsoid((-8, -4, 80), (30, 16.5, 18)), "blood"),
        (ellipsoid((30, 19, 64), (20, 23, 28)), "venous_blood"),
    )
    placed = partial(varied, factor=factor, shift_mm=shift, pivot=(-8.0, 22.0, 58.0))
    region = canvas.region(placed(whole))
    canvas.paint(region, "visceral_fat", organ=0, grow_mm=4.5)
    canvas.paint(region, "heart_muscle", organ=ORGANS["heart"])
    for chamber, blood in chambers:
        canvas.paint(canvas.region(placed(chamber)), blood)


def draw_trunk_vessels(canvas: Canvas) -> None:
    """Draw the aorta, the caval veins and their great branches, in a sleeve of fat."""
    canvas.paint(canvas.region(*_LUNG_ARTERIES), "venous_blood", organ=0)
    canvas.paint(canvas.region(*_UPPER_VEINS), "venous_blood", organ=0)
    canvas.paint(canvas.region(*_NECK_ARTERIES), "blood", organ=0)
    iliacs = canvas.region(*_ILIACS)
    canvas.paint(iliacs, "blood", organ=0)
    veins = tuple(
        rod
        for side in (1, -1)
        for rod in tube(
            (15, -17, -130, 8),
            (side * 36, -30, -170, 7),
            (side * 52, 12, -225, 6.5),
            (side * 56, 34, -275, 6),
        )
    )
    canvas.paint(canvas.region(*veins), "venous_blood", organ=0)
    cava = canvas.region(*_VENA_CAVA)
    canvas.paint(cava, "venous_blood", organ=ORGANS["vena_cava"])
    aorta = canvas.region(*_AORTA)
    canvas.paint(aorta, "visceral_fat", organ=0, grow_mm=1.5)
    canvas.paint(aorta, "heart_muscle", organ=ORGANS["aorta"])
    canvas.paint(aorta, "blood", grow_mm=-1.2)
