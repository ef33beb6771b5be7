"""Which of two volumes shows at each voxel, and how strongly: the map of VolumeFusion.

Wang et al. 2023, arXiv:2306.16925; numbers of boxes and classes are those of the paper.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medssl.errors import ConfigError

__all__ = ["FusionMap"]


class FusionMap:
    """Boxes of random classes over a background of class 0; later boxes lie over earlier ones.

    Args:
        levels: Steps from pure background to pure foreground; there is one class more.
        boxes: Smallest and largest number of boxes.
        edge: Shortest and longest edge of a box, in edges of the image.

    Raises:
        ConfigError: If there is no step or no box, or a box would be larger than the image.

    Example:
        >>> FusionMap()((2, 1, 16, 16, 16), torch.Generator().manual_seed(0)).shape
        torch.Size([2, 16, 16, 16])
    """

    def __init__(
        self,
        *,
        levels: int = 4,
        boxes: tuple[int, int] = (10, 40),
        edge: tuple[float, float] = (0.08, 0.625),
    ) -> None:
        if levels < 1 or not 1 <= boxes[0] <= boxes[1] or not 0.0 < edge[0] <= edge[1] <= 1.0:
            raise ConfigError(
                f"{boxes} boxes with edges of {edge} in {levels} levels were asked for; use 1 or "
                "more of each, edges in (0, 1], lower first"
            )
        self.levels = levels
        self.boxes = (boxes[0], boxes[1])
        self.edge = (edge[0], edge[1])

    def __call__(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """Draw the classes of a batch.

        Args:
            shape: Shape of the images, ``(B, C, X, Y, Z)`` or ``(B, C, X, Y)``.
            generator: Where the randomness comes from.

        Returns:
            ``(B, X, Y, Z)`` or ``(B, X, Y)`` integers from 0 to ``levels``, on its device.
        """
        batch, sizes = shape[0], torch.tensor(shape[2:], device=generator.device)
        low, high = self.boxes

        def draw(*more: int) -> Tensor:
            return torch.rand(batch, *more, generator=generator, device=generator.device)

        count = low + (draw() * (high - low + 1)).long()
        shares = self.edge[0] + (self.edge[1] - self.edge[0]) * draw(high, len(sizes))
        edges = (shares * sizes).round().clamp(min=1).minimum(sizes)
        start = (draw(high, len(sizes)) * (sizes - edges + 1)).floor().minimum(sizes - edges)
        kind = (draw(high) * (self.levels + 1)).long().clamp(max=self.levels)
        classes = torch.zeros(batch, *shape[2:], dtype=torch.long, device=generator.device)
        for box in range(high):
            inside = (count > box).view(batch, *[1] * len(sizes))
            for axis, size in enumerate(shape[2:]):
                place = torch.arange(size, device=generator.device)
                first = start[:, box, axis, None]
                line = (place >= first) & (place < first + edges[:, box, axis, None])
                line_shape = [batch, *[1] * len(sizes)]
                line_shape[1 + axis] = size
                inside = inside & line.view(line_shape)
            classes = torch.where(inside, kind[:, box].view(batch, *[1] * len(sizes)), classes)
        return classes

    def fuse(self, foreground: Tensor, background: Tensor, classes: Tensor) -> Tensor:
        """Return ``a * foreground + (1 - a) * background``, ``a`` being a class by the levels.

        Args:
            foreground: ``(B, C, X, Y, Z)`` or ``(B, C, X, Y)``.
            background: Of the same shape.
            classes: ``(B, X, Y, Z)`` or ``(B, X, Y)``.
        """
        share = (classes.to(foreground.dtype) / self.levels).unsqueeze(1)
        return share * foreground + (1.0 - share) * background
