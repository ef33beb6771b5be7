"""Swin transformers on MONAI's class, whose names they keep: the encoder of SwinUNETR.

Liu et al. 2021, arXiv:2103.14030; in 3D: Hatamizadeh et al. 2022, arXiv:2201.01266.
``encoder.state_dict()`` loads into ``monai.networks.nets.swin_unetr.SwinTransformer`` unchanged,
and, under the prefix ``swinViT.``, into ``SwinUNETR``.

MONAI 1.5 changed the order in which the eight voxels of a patch merge are read. The tensors keep
their names and shapes, the function does not: weights trained before need
``merge_order="published"``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from monai.networks.nets.swin_unetr import PatchMerging, SwinTransformer
from torch import Tensor

from medssl.encoders.base import Encoder, register_variants

__all__ = ["Swin"]


class PublishedMerging(PatchMerging):
    """Patch merging as in MONAI up to 1.4, with which the published weights were trained.

    It reads two of the eight corners twice and two never; the plane in 2D is not concerned.
    """

    CORNERS = (
        (0, 0, 0),
        (1, 0, 0),
        (0, 1, 0),
        (0, 0, 1),
        (1, 0, 1),
        (0, 1, 0),
        (0, 0, 1),
        (1, 1, 1),
    )

    def forward(self, x: Tensor) -> Tensor:
        """Halve ``(B, X, Y, Z, C)`` along each axis and double the channels."""
        if x.ndim != 5:
            halved: Tensor = super().forward(x)  # type: ignore[no-untyped-call]  # MONAI's
            return halved
        _, d, h, w, _ = x.shape
        x = F.pad(x, (0, 0, 0, w % 2, 0, h % 2, 0, d % 2))
        x = torch.cat([x[:, i::2, j::2, k::2] for i, j, k in self.CORNERS], dim=-1)
        reduced: Tensor = self.reduction(self.norm(x))
        return reduced


@register_variants(
    swin_tiny={"width": 24},
    swin_base={"width": 48},
    swin_large={"width": 96},
    swin_huge={"width": 192},
)
class Swin(Encoder, SwinTransformer):
    """Windowed attention in four stages, as in SwinUNETR, from a grid of 2-cubed patches.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the input.
        patch: Not used: windows fit any size.
        width: Features of the first map, SwinUNETR's ``feature_size``.
        depths: Blocks of each of the four stages.
        heads: Attention heads of each stage.
        window: Edge of a window, in cells of the map.
        version: 2 puts a residual convolution before each stage (SwinUNETR-V2).
        merge_order: How a merge reads its voxels: ``monai`` as MONAI does since 1.5, ``published``
            as before, for weights from then.
        normalise: Whether the maps leave through a layer norm without weights, as in SwinUNETR.
        checkpointing: Whether to compute activations again in the backward pass to save memory.
    """

    def __init__(
        self,
        *,
        spatial_dims: int = 3,
        in_channels: int = 1,
        patch: tuple[int, ...] = (96, 96, 96),  # noqa: ARG002
        width: int = 48,
        depths: tuple[int, int, int, int] = (2, 2, 2, 2),
        heads: tuple[int, int, int, int] = (3, 6, 12, 24),
        window: int = 7,
        version: Literal[1, 2] = 1,
        merge_order: Literal["monai", "published"] = "monai",
        normalise: bool = True,
        checkpointing: bool = False,
    ) -> None:
        device = torch.get_default_device()
        # MONAI reads numbers back while it builds, which the meta device can't
        with torch.device("cpu"):
            super().__init__(
                in_chans=in_channels,
                embed_dim=width,
                window_size=(window,) * spatial_dims,
                patch_size=(2,) * spatial_dims,
                depths=depths,
                num_heads=heads,
                use_checkpoint=checkpointing,
                spatial_dims=spatial_dims,
                downsample=PublishedMerging if merge_order == "published" else "merging",
                use_v2=version == 2,
            )
        self.to(device)
        self.normalise = normalise
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.channels = tuple(width * 2**level for level in range(5))
        self.strides = tuple((2 ** (level + 1),) * spatial_dims for level in range(5))

    _maps_of: Callable[..., Any] = SwinTransformer.forward

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return narrow stages, the first with a shifted window."""
        return {"width": 6, "depths": (2, 1, 1, 1), "heads": (1, 1, 2, 2), "window": 3}

    def forward(self, x: Tensor) -> list[Tensor]:  # type: ignore[override]  # no switch
        """Return the embedded patches, then the output of each stage after its merge."""
        return cast("list[Tensor]", self._maps_of(x, normalize=self.normalise))
