"""The organs of the belly, as a table: shape, tissue, how much it varies, and what is inside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from medssl.phantom.canvas import Canvas, Region
from medssl.phantom.organs import ORGANS
from medssl.phantom.physique import SUBJECT_CLASSES, Physique
from medssl.phantom.shapes import (
    Shape,
    Vector,
    below_diaphragm,
    blend,
    carve,
    ellipsoid,
    half_space,
    in_cavity,
    meet,
    tube,
    varied,
)

__all__ = ["VISCERA", "Organ", "draw_viscera"]

Place = Callable[[Shape], Shape]
"""Carries a shape of the reference adult to where this subject has it."""


@dataclass(frozen=True)
class Organ:
    """One row of the table of organs.

    Attributes:
        name: A name of ``ORGANS``.
        shape: The organ of the reference adult.
        tissue: What it is made of.
        size: Deviation of its size between subjects, as a share.
        shift_mm: Deviation of its place between subjects.
        fat_mm: Thickness of the fat around it.
        inside: Draws what is inside, after the organ itself.
        missing: Share of the subjects who lack it.
    """

    name: str
    shape: Shape
    tissue: str
    size: float
    shift_mm: Vector
    fat_mm: float = 0.0
    inside: Callable[[Canvas, Region, Place, np.random.Generator], None] | None = None
    missing: float = 0.0


def _liver() -> Shape:
    """Return a wedge that fills the right upper belly and thins out towards the left."""
    return carve(
        meet(
            Shape(lambda p: -70 - p.x, (-75, -110, -150), (170, 130, 75)),
            in_cavity(2.5),
            below_diaphragm(3.5),
            half_space((-0.62, 0.12, -1), 46),
            half_space((-0.9, -1, 0), 13),
            blend_mm=13,
        ),
        ellipsoid((62, -50, -84), (34, 33, 52)),
        ellipsoid((-4, -50, 0), (34, 34, 300)),
        ellipsoid((-10, 78, -18), (4, 30, 26)),
        ellipsoid((30, 8, -34), (15, 17, 13)),
        blend_mm=9,
    )


def _liver_inside(
    canvas: Canvas, region: Region, place: Place, generator: np.random.Generator
) -> None:
    """Draw portal and hepatic veins that gather towards the gate of the liver."""
    del place, generator
    points = region.points
    gate = np.sqrt((points.x - 30) ** 2 + (points.y + 2) ** 2 + (points.z + 4) ** 2)
    radius = np.clip(np.float32(4.8) - gate * np.float32(0.036), 0.6, 4.4)
    veins = Region(region.box, canvas.tangle("vessels", 19.0, region.box) - radius, points)
    share = np.clip(radius * np.float32(2 / canvas.edge_mm), 0, 0.85)
    canvas.paint(veins, "liver_vessel", within=(region.distance + 5,), share=share)
    trunk = tube((-4, -8, -40, 6.5), (22, -2, -22, 6.5), (40, 2, -8, 6), (72, 6, -2, 4))
    canvas.paint(canvas.region(*trunk), "liver_vessel")


def _gallbladder() -> Shape:
    """Return a pear that hangs under the liver."""
    return ellipsoid((48, 52, -84), (13, 15, 27), turn=(-22, 14, 0))


def _spleen() -> Shape:
    """Return a bent disc against the left flank, under the diaphragm."""
    return carve(
        meet(
            ellipsoid((-92, -36, -8), (38, 50, 59), turn=(20, 10, 18)),
            in_cavity(3),
            below_diaphragm(4),
            blend_mm=8,
        ),
        ellipsoid((-49, -6, -8), (35, 41, 52)),
        blend_mm=10,
    )


def _stomach() -> Shape:
    """Return a bag bent like a J from under the left dome to the midline."""
    bag = tube(
        (-60, -22, 10, 29),
        (-64, 4, -12, 29),
        (-52, 30, -38, 25),
        (-22, 44, -58, 19),
        (8, 40, -57, 14),
        (24, 30, -48, 9),
    )
    return meet(blend(*bag, blend_mm=9), below_diaphragm(5), in_cavity(4), blend_mm=8)


def _stomach_inside(
    canvas: Canvas, region: Region, place: Place, generator: np.random.Generator
) -> None:
    """Fill the stomach: food below, gas above a level, for the subject lies on the back."""
    del place
    lumen = region.distance + np.float32(4.5)
    canvas.paint(Region(region.box, lumen, region.points), "bowel_content")
    surface = np.float32(generator.uniform(12, 44)) - region.points.y
    canvas.paint(Region(region.box, lumen, region.points), "gas", within=(surface,))


def _kidney(side: int) -> Shape:
    """Return a bean whose upper end leans to the spine and whose hollow looks at it."""
    z = -66.0 - 8 * (side > 0)
    return carve(
        ellipsoid((side * 60, -39, z), (27, 23, 54), turn=(8, -13.0 * side, -12.0 * side)),
        ellipsoid((side * 33, -30, z), (15, 10, 15)),
        blend_mm=9,
    )


def _kidney_inside(side: int) -> Callable[[Canvas, Region, Place, np.random.Generator], None]:
    """Return what draws marrow, fat and the pelvis in the kidney of one side."""
    z = -66.0 - 8 * (side > 0)
    sinus = ellipsoid((side * 49, -36, z), (13, 9, 25), turn=(8, -13.0 * side, -12.0 * side))
    pelvis = blend(
        ellipsoid((side * 45, -35, z - 2), (11, 5.5, 9)),
        ellipsoid((side * 53, -38, z + 12), (4.5, 4, 9)),
        ellipsoid((side * 54, -38, z - 14), (4.5, 4, 9)),
    )

    def draw(canvas: Canvas, region: Region, place: Place, generator: np.random.Generator) -> None:
        del generator
        pyramids = np.float32(1.5) - canvas.field("vessels one", 19.0)[region.box] * 4
        marrow = (region.distance + np.float32(7), pyramids)
        canvas.paint(region, "kidney_medulla", within=marrow)
        canvas.paint(canvas.region(place(sinus)), "visceral_fat", organ=0)
        canvas.paint(canvas.region(place(pelvis)), "urine", organ=0)

    return draw


def _pancreas() -> Shape:
    """Return a bent, tapering band in front of the great vessels."""
    return blend(
        *tube(
            (30, 16, -66, 12),
            (27, 16, -48, 14),
            (4, 12, -38, 9),
            (-28, 0, -27, 10),
            (-66, -22, -16, 8),
        ),
        blend_mm=4,
    )


def _bladder() -> Shape:
    """Return a bag behind the pubic bone, flat on top."""
    return meet(
        ellipsoid((0, 22, -222), (44, 33, 34)),
        half_space((0, 0.25, 1), -188),
        in_cavity(-6),
        blend_mm=16,
    )


def _bladder_inside(
    canvas: Canvas, region: Region, place: Place, generator: np.random.Generator
) -> None:
    """Fill the bladder."""
    del place, generator
    canvas.paint(region, "urine", grow_mm=-3.5)


VISCERA: Final[tuple[Organ, ...]] = (
    Organ("stomach", _stomach(), "bowel_wall", 0.10, (4, 4, 5), fat_mm=2, inside=_stomach_inside),
    Organ("pancreas", _pancreas(), "pancreas", 0.08, (3, 2, 4), fat_mm=2.5),
    Organ("liver", _liver(), "liver", 0.05, (2, 2, 5), inside=_liver_inside),
    Organ("gallbladder", _gallbladder(), "bile", 0.14, (4, 4, 4), missing=0.12),
    Organ("spleen", _spleen(), "spleen", 0.13, (3, 3, 6), fat_mm=1.5, missing=0.06),
    Organ("kidney_right", _kidney(1), "kidney_cortex", 0.07, (4, 2, 7), 7, _kidney_inside(1)),
    Organ("kidney_left", _kidney(-1), "kidney_cortex", 0.07, (4, 2, 7), 7, _kidney_inside(-1)),
    Organ("bladder", _bladder(), "bowel_wall", 0.16, (3, 3, 3), fat_mm=2, inside=_bladder_inside),
)
"""In the order of drawing: what comes later lies over what came before."""


def draw_viscera(canvas: Canvas, generator: np.random.Generator) -> dict[str, Shape]:
    """Draw the organs of the belly as this subject has them.

    Returns:
        The shape of every organ that the subject has, by name.
    """
    kidney_gone = "kidney_right" if generator.random() < 0.5 else "kidney_left"
    present: dict[str, Shape] = {}
    for organ in VISCERA:
        place = _placement(organ, generator, canvas.physique)
        missing = generator.random() < organ.missing
        if canvas.physique.subject_class == SUBJECT_CLASSES["single_kidney"]:
            missing = missing or organ.name == kidney_gone
        if missing:
            continue
        shape = place(organ.shape)
        region = canvas.region(shape)
        if organ.fat_mm > 0:
            canvas.paint(region, "visceral_fat", grow_mm=organ.fat_mm, organ=0)
        canvas.paint(region, organ.tissue, organ=ORGANS[organ.name])
        if organ.inside is not None:
            organ.inside(canvas, region, place, generator)
        present[organ.name] = shape
    return present


def _placement(organ: Organ, generator: np.random.Generator, physique: Physique) -> Place:
    """Draw how this subject's organ differs in size and place from the reference."""
    common = np.clip(generator.standard_normal(), -2.2, 2.2)
    single = np.clip(generator.standard_normal(3), -2, 2)
    factor = np.exp(organ.size * common + 0.4 * organ.size * single)
    shift = np.clip(generator.standard_normal(3), -2, 2) * organ.shift_mm
    # Organs under the diaphragm go down with it, the deeper ones less.
    low, high = np.asarray(organ.shape.low), np.asarray(organ.shape.high)
    shift[2] -= physique.breath_mm * np.clip(0.8 + (high[2] + low[2]) / 2 / 200, 0, 1)
    x, y, z = (float(value) for value in (low + high) / 2)
    return partial(varied, factor=factor, shift_mm=shift, pivot=(x, y, z))
