"""A part of the body and the parts that it is made of, at two scales."""

from __future__ import annotations

import itertools

import numpy as np

from medssl.sampling.body import Body
from medssl.sampling.facts import VolumeFacts
from medssl.sampling.position import body_coordinates
from medssl.types import Box, Place, Shape

__all__ = ["PartWhole"]


class PartWhole:
    """A box of several patches along each edge, and the patches that tile it.

    The whole is read at the size of the patch, each voxel the mean of a block; its parts are read
    as they are. The crops of a place are the whole and then the parts, the first axis slowest:
    eight octants of a volume, four quadrants of a planar image or of a slice. A volume smaller than
    the whole lies in its middle, and reading pads it.

    Targets, float32: ``part_position`` ``(parts, ndim)``, the centre of each part in the whole, in
    [0, 1]; and ``position`` ``(1 + parts, ndim)``, where the crops lie in the body.

    Args:
        factor: Patches along each edge of the whole.
        share: Least share of body in the whole, see :class:`Body`.
    """

    def __init__(self, *, factor: int = 2, share: float = 0.5) -> None:
        if factor < 1:
            raise ValueError(f"a whole of {factor} patches an edge has no parts; use 1 or more")
        self.factor = factor
        self.body = Body(share=share)

    def place(self, facts: VolumeFacts, patch: Shape, generator: np.random.Generator) -> Place:
        """Return a whole and its parts, see :class:`~medssl.sampling.places.Sampler`."""
        # A slice has no halves across.
        factors = [1 if edge == 1 else self.factor for edge in patch]
        size = tuple(factor * edge for factor, edge in zip(factors, patch, strict=True))
        region = self.body.box(facts, size, generator)
        corners = itertools.product(*(range(factor) for factor in factors))
        parts = [Box(tuple(np.multiply(corner, patch).tolist()), patch) for corner in corners]
        crops = (Box((0,) * len(patch), size), *parts)
        centres = [np.add(part.start, np.divide(part.size, 2)) for part in parts]
        targets = {
            "part_position": np.divide(centres, size).astype(np.float32),
            "position": np.stack([body_coordinates(facts, _moved(box, region)) for box in crops]),
        }
        return Place(region, crops, targets)


def _moved(box: Box, region: Box) -> Box:
    return Box(tuple(np.add(box.start, region.start).tolist()), box.size)
