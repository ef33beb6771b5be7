"""VolumeFusion: say at each voxel how much of each of two fused volumes it shows.

A segmentation task without labels: encoder and decoder learn together.
Paper: Wang et al. 2023 (MIS-FM), arXiv:2306.16925; reference code: openmedlab/MIS-FM, in 3D also
nnssl's ``VolumeFusion`` trainers.
Ours differs: the two crops are of two patients, anywhere on the body, so that neither lies in a
fixed place of the batch; edges of boxes are shares of the patch, as in nnssl, for any patch; any
encoder takes part, in 2D too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from medssl.encoders.decoders import UNetDecoder
from medssl.losses.segmentation import dice_ce
from medssl.methods.base import Method, Targets
from medssl.parts.fusion import FusionMap
from medssl.parts.pictures import beside_each_other
from medssl.sampling.partners import JointSampler
from medssl.sampling.strangers import Strangers
from medssl.transforms.presets import gentle_geometry
from medssl.transforms.views import ViewRecipe
from medssl.types import Batch, Losses, Picture

__all__ = ["VolumeFusion"]


class VolumeFusion(Method):
    """Segmenting the map by which two volumes were fused.

    The decoder is the one that segmentation uses.

    Args:
        levels: Steps from pure background to pure foreground; one class more is told apart.
        boxes: Smallest and largest number of boxes.
        edge: Shortest and longest edge of a box, in edges of the patch.
        body_share: Least share of body in each crop.
        **shared: Encoder and patch, see :class:`Method`.
    """

    name: ClassVar[str] = "volume_fusion"

    def __init__(
        self,
        *,
        levels: int = 4,
        boxes: tuple[int, int] = (10, 40),
        edge: tuple[float, float] = (0.08, 0.625),
        body_share: float = 0.3,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.body_share = body_share
        self.fusion = FusionMap(levels=levels, boxes=boxes, edge=edge)
        self.decoder = UNetDecoder(self.encoder, levels + 1)

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return the options of tests."""
        return {"boxes": (4, 8), "levels": 2}

    def places(self) -> JointSampler:
        """Look at two patients."""
        return Strangers(volumes=2, share=self.body_share)

    def views(self) -> ViewRecipe:
        """Foreground and background, each turned and scaled a little."""
        return ViewRecipe.groups((range(1), gentle_geometry()), (range(1, 2), gentle_geometry()))

    def loss(
        self,
        views: Sequence[Tensor],
        targets: Targets,  # noqa: ARG002 the map is drawn here
        generator: torch.Generator,
    ) -> Losses:
        """Return Dice over all classes and cross-entropy."""
        classes, _, logits = self._segment(views, generator)
        return {"loss": dice_ce(logits, classes, include_background=True)}

    def _segment(
        self, views: Sequence[Tensor], generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the map ``(B, *patch)``, the fused image and the logits of each class."""
        foreground, background = views
        classes = self.fusion(foreground.shape, generator)
        fused = self.fusion.fuse(foreground, background, classes)
        return classes, fused, self.decoder(self.encoder(fused), fused)[0]

    def pictures(self, batch: Batch, generator: torch.Generator) -> list[Picture]:
        """Show both volumes, what was made of them, the map and the answer."""
        views = self.make_views(batch, generator)
        classes, fused, logits = self._segment(views, generator)
        named = (
            ("foreground", views[0]),
            ("background", views[1]),
            ("fused", fused),
            ("share of the foreground", classes.unsqueeze(1)),
            ("answered", logits.argmax(dim=1, keepdim=True)),
        )
        return beside_each_other(
            "Fusion", named, "How strongly the foreground shows, in steps: true and answered."
        )
