"""Where in the body a crop lies, in coordinates that mean the same in every patient."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medssl.sampling.facts import VolumeFacts
from medssl.types import Box, Shape

__all__ = ["body_coordinates", "voxel_at"]


def body_coordinates(facts: VolumeFacts, box: Box) -> npt.NDArray[np.float32]:
    """Return the centre of a box as shares of the way through the body's own box.

    Args:
        facts: What is known of the volume.
        box: A crop, in voxels of the volume.

    Returns:
        ``(ndim,)``: 0 at the left, back and bottom of the body, 1 at its right, front and top;
        beyond these for a centre outside the body's box.

    Example:
        >>> everywhere = VolumeFacts((8, 8), (1.0, 1.0), np.ones((2, 2), bool), (4, 4))
        >>> body_coordinates(everywhere, Box((0, 4), (4, 4)))
        array([0.25, 0.75], dtype=float32)
    """
    body = facts.body
    centre = np.add(box.start, np.divide(box.size, 2))
    return np.asarray((centre - body.start) / np.array(body.size), np.float32)


def voxel_at(facts: VolumeFacts, coordinates: npt.NDArray[np.floating]) -> Shape:
    """Return the voxel at a place in the body: the opposite of :func:`body_coordinates`.

    Args:
        facts: What is known of the volume.
        coordinates: ``(ndim,)`` shares of the way through the body's own box.

    Returns:
        The nearest voxel that lies inside the volume.

    Example:
        >>> everywhere = VolumeFacts((8, 8), (1.0, 1.0), np.ones((2, 2), bool), (4, 4))
        >>> voxel_at(everywhere, np.array([0.25, 0.75]))
        (2, 6)
    """
    body = facts.body
    points = np.floor(np.add(body.start, np.multiply(coordinates, body.size)))
    return tuple(
        min(max(int(point), 0), count - 1) for point, count in zip(points, facts.shape, strict=True)
    )
