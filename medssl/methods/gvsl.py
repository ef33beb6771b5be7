"""GVSL: lay the anatomy of one patient over that of another, and repair what was damaged of it.

Paper: He et al., CVPR 2023, "Geometric Visual Similarity Learning in 3D Medical Image
    Self-supervised Pre-training"; reference code: YutingHe-list/GVSL and nnssl's port.
Ours differs: both crops come from the same part of the body, by its own coordinates, where the port
pairs any two; the pose takes gradient and nothing moves without a reason (see
:mod:`medssl.encoders.registration`); pose and shifts are read with one interpolation, the reference
code makes two; the pose's numbers are bounded by a smooth curve, so that none is stuck beyond a
clamp; planar images and encoders without convolutions take part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from medssl.encoders.convolution import CONV
from medssl.encoders.decoders import Pyramid
from medssl.encoders.registration import FlowHead, PoseHead, warp
from medssl.losses.registration import correlation_loss, roughness
from medssl.methods.base import Method, Targets
from medssl.parts.pictures import beside_each_other
from medssl.sampling.partners import Corresponding, JointSampler
from medssl.transforms.compose import Compose, OneOf
from medssl.transforms.corruption import InPaint, LocalShuffle, OutPaint
from medssl.transforms.curves import Bezier
from medssl.transforms.views import ViewRecipe
from medssl.transforms.warp import Affine
from medssl.types import Batch, Losses, Picture

__all__ = ["GVSL"]


class GVSL(Method):
    """Registration of two patients, and restoration of one of them.

    Args:
        width: Channels at full resolution, which the shifts are told from.
        pose_width: Hidden features of the head that tells the pose, a multiple of 8.
        window: Edge of the windows whose correlation is asked for, in voxels, odd.
        restoration_weight: Weight of the squared error of the repaired crop.
        smoothness: Weight of the roughness of the shifts.
        pose_deg: Largest turn of either crop about each axis, so that there is a pose to find.
        jitter: Largest shift of the second crop along each axis, in edges of the crop.
        body_share: Least share of body in a crop.
        **shared: Encoder and patch, see :class:`Method`.
    """

    name: ClassVar[str] = "gvsl"

    def __init__(
        self,
        *,
        width: int = 16,
        pose_width: int = 128,
        window: int = 9,
        restoration_weight: float = 1.0,
        smoothness: float = 1.0,
        pose_deg: float = 10.0,
        jitter: float = 0.1,
        body_share: float = 0.5,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.window = window
        self.restoration_weight = restoration_weight
        self.smoothness = smoothness
        self.pose_deg = pose_deg
        self.jitter = jitter
        self.body_share = body_share
        self.corruption = appearance_corruption()
        dims = self.encoder.spatial_dims
        self.decoder = Pyramid(self.encoder, width=width, skips=True, image=False)
        self.pose = PoseHead(dims, self.encoder.channels[-1], pose_width)
        self.flow = FlowHead(dims, width, width)
        self.repair = CONV[dims](width, self.encoder.in_channels, 1)

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return the options of tests."""
        return {"width": 4, "pose_width": 16}

    def places(self) -> JointSampler:
        """Look at the same part of the body in two patients."""
        return Corresponding(volumes=2, share=self.body_share, jitter=self.jitter)

    def views(self) -> ViewRecipe:
        """Both crops, each turned and scaled by itself; left stays left."""
        pose = Affine(rotation_deg=self.pose_deg, scale=(0.9, 1.1), p=0.5)
        return ViewRecipe.groups(((0,), pose), ((1,), pose))

    def loss(
        self,
        views: Sequence[Tensor],
        targets: Targets,  # noqa: ARG002 the other patient is the target
        generator: torch.Generator,
    ) -> Losses:
        """Return how badly the second lies over the first, and how badly that one was repaired."""
        fixed, moving = views
        repaired, moved, shifts = self.register(self.corruption(fixed, generator), moving)
        terms = {
            "registration": correlation_loss(moved, fixed, window=self.window),
            "restoration": (repaired.float() - fixed.float()).square().mean(),
            "roughness": roughness(shifts),
        }
        total = terms["registration"] + self.restoration_weight * terms["restoration"]
        return {"loss": total + self.smoothness * terms["roughness"], **terms}

    def register(self, fixed: Tensor, moving: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Repair an image and lay another one over it.

        Args:
            fixed: ``(B, C, *patch)``, damaged.
            moving: ``(B, C, *patch)`` of other patients.

        Returns:
            The first repaired, the second moved, and the shifts ``(B, d, *patch)`` after its pose.
        """
        maps = self.encoder(torch.cat([fixed, moving]))
        fine_fixed, fine_moving = self.decoder(maps, self.patch, None)[0].chunk(2)
        coarse_fixed, coarse_moving = maps[-1].chunk(2)
        frames = self.pose(coarse_moving, coarse_fixed, self.patch)
        shifts = self.flow(warp(fine_moving, frames), fine_fixed)
        return self.repair(fine_fixed), warp(moving, frames, shifts), shifts

    def pictures(self, batch: Batch, generator: torch.Generator) -> list[Picture]:
        """Show the damaged and repaired crop, and the other patient before and after it moved."""
        fixed, moving = self.make_views(batch, generator)
        damaged = self.corruption(fixed, generator)
        repaired, moved, _ = self.register(damaged, moving)
        return beside_each_other(
            "Two patients, one laid over the other",
            (
                ("first", fixed),
                ("damaged", damaged),
                ("repaired", repaired),
                ("second", moving),
                ("second, moved", moved),
            ),
            "The last panel should look like the first: its anatomy, another patient's voxels.",
        )


def appearance_corruption() -> Compose:
    """Return what changes the look of a crop and moves nothing, with the paper's chances.

    Shuffled blocks for eight of ten, another grey scale and noise, mostly around boxes, for nine of
    ten.
    """
    painted = OneOf((InPaint(), OutPaint()), weights=(0.2, 0.8), p=0.9)
    return Compose((LocalShuffle(p=0.8), Bezier(p=0.9), painted))
