"""What methods share that hide a part of a crop and are judged by how they rebuild it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medssl.losses.reconstruction import masked_mse
from medssl.methods.base import Targets
from medssl.methods.one_view import OneViewMethod
from medssl.parts.pictures import masking_picture
from medssl.types import Batch, Losses, Picture

__all__ = ["RebuildingMethod"]


class RebuildingMethod(OneViewMethod):
    """A method that says in :meth:`rebuild` what it hides and how it answers."""

    def rebuild(self, volume: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Hide a part of a volume and rebuild it.

        Args:
            volume: ``(B, C, *patch)``.
            generator: Source of the mask.

        Returns:
            The answer and what it should be, ``(B, C, *patch)``, and which voxels were hidden,
            ``(B, 1, *patch)``.
        """
        raise NotImplementedError

    def error(self, rebuilt: Tensor, target: Tensor, hidden: Tensor) -> Tensor:
        """Return how wrong an answer is; the squared error over hidden voxels."""
        return masked_mse(rebuilt, target, hidden)

    def loss(
        self,
        views: Sequence[Tensor],
        targets: Targets,  # noqa: ARG002 the volume is its own target
        generator: torch.Generator,
    ) -> Losses:
        """Return the error over hidden voxels."""
        return {"loss": self.error(*self.rebuild(views[0], generator))}

    def pictures(self, batch: Batch, generator: torch.Generator) -> list[Picture]:
        """Show what was to be rebuilt, what was visible of it and the answer."""
        (volume,) = self.make_views(batch, generator)
        rebuilt, target, hidden = self.rebuild(volume, generator)
        return masking_picture(target, hidden, rebuilt)
