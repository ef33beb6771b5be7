"""One subject's anatomy: who it is, laid out on a grid as tissues and labels."""

from __future__ import annotations

from medssl.phantom.bowel import draw_bowel
from medssl.phantom.canvas import Canvas
from medssl.phantom.chest import draw_chest, draw_trunk_vessels, free_lung
from medssl.phantom.lesions import draw_lesions
from medssl.phantom.noise import Axes, stream
from medssl.phantom.physique import draw_physique
from medssl.phantom.skeleton import draw_skeleton
from medssl.phantom.viscera import draw_viscera
from medssl.phantom.wall import draw_wall

__all__ = ["draw_anatomy"]


def draw_anatomy(seed: int, axes: Axes, edge_mm: float) -> Canvas:
    """Draw the trunk of a subject, from the skin inwards.

    The same seed is the same body on every grid: all randomness is drawn in millimetres.

    Args:
        seed: The subject.
        axes: Positions of the voxel centres along each axis, in millimetres of the scanner.
        edge_mm: Width of the soft edge of a shape: the size of a voxel.

    Returns:
        The canvas with all layers and labels.
    """
    canvas = Canvas(axes, edge_mm, draw_physique(seed))
    draw_wall(canvas)
    draw_bowel(canvas, stream(seed, "bowel"))
    draw_chest(canvas, stream(seed, "chest"))
    organs = draw_viscera(canvas, stream(seed, "viscera"))
    draw_trunk_vessels(canvas)
    draw_skeleton(canvas)
    hosts = {"liver": organs["liver"], "lung_right": free_lung(1), "lung_left": free_lung(-1)}
    draw_lesions(canvas, hosts, stream(seed, "lesions"))
    return canvas
