"""The encoder of Models Genesis' U-Net, which is SuPreM's U-Net too, under its own names.

Zhou et al. 2021, "Models Genesis", arXiv:2004.07882; Li et al. 2024, "SuPreM".
Published keys are ``down_tr64`` to ``down_tr512`` after ``module.`` (SuPreM:
``module.backbone.``); what begins with ``up_tr`` or ``out_tr`` is the decoder.
The reference norms by the statistics of the batch at hand, at inference too, so that an image's
features depend on its neighbours in the batch. ``statistics="batch"`` is that function;
``"running"`` is the usual one, with the same keys and other features.
Ours differs: pooling rounds up at odd edges, and statistics do not move outside training.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from medssl.encoders.base import Encoder, register_variants
from medssl.encoders.convolution import CONV, lay_out

__all__ = ["GenesisEncoder"]

MAX_POOL: dict[int, type[nn.MaxPool2d | nn.MaxPool3d]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
BATCH_NORM: dict[int, type[nn.BatchNorm2d | nn.BatchNorm3d]] = {
    2: nn.BatchNorm2d,
    3: nn.BatchNorm3d,
}


class GenesisBlock(nn.Module):
    """Convolution, batch norm and rectifier, under the reference's names.

    Args:
        dims: 2 or 3.
        in_channels: Of the input.
        out_channels: Of the output.
        always_batch: Whether the norm takes the statistics of the batch at inference too.
    """

    def __init__(
        self, dims: int, in_channels: int, out_channels: int, *, always_batch: bool
    ) -> None:
        super().__init__()
        self.conv1 = CONV[dims](in_channels, out_channels, 3, padding=1)
        self.bn1 = BATCH_NORM[dims](out_channels)
        self.always_batch = always_batch

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(B, out_channels, …)`` of the size of ``x``."""
        x = self.conv1(x)
        # a single voxel has no statistics of its own
        several = math.prod((x.shape[0], *x.shape[2:])) > 1
        if self.always_batch and not self.training and several:
            norm = self.bn1
            x = F.batch_norm(x, None, None, norm.weight, norm.bias, training=True, eps=norm.eps)
        else:
            x = self.bn1(x)
        return F.relu(x, inplace=True)


@register_variants(unet_genesis={})
class GenesisEncoder(Encoder):
    """Four stages of two convolutions, with maximum pooling between.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the input.
        patch: Not used: convolutions fit any size.
        width: Channels of the first stage, even; each stage that follows has twice as many.
        statistics: What the norms take at inference: those of the ``batch``, as published, or
            those kept from training (``running``), which make features of an image its own.
    """

    def __init__(
        self,
        *,
        spatial_dims: int = 3,
        in_channels: int = 1,
        patch: tuple[int, ...] = (96, 96, 96),  # noqa: ARG002
        width: int = 64,
        statistics: Literal["batch", "running"] = "batch",
    ) -> None:
        super().__init__()
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.channels = tuple(width * 2**stage for stage in range(4))
        self.strides = tuple((2**stage,) * spatial_dims for stage in range(4))
        always = statistics == "batch"
        self.pool = MAX_POOL[spatial_dims](2, ceil_mode=True)
        self.stages = ("down_tr64", "down_tr128", "down_tr256", "down_tr512")
        seen = in_channels
        for name, wide in zip(self.stages, self.channels, strict=True):
            # the first convolution of a stage gives half of its channels
            ops = nn.Sequential(
                GenesisBlock(spatial_dims, seen, wide // 2, always_batch=always),
                GenesisBlock(spatial_dims, wide // 2, wide, always_batch=always),
            )
            self.add_module(name, nn.Sequential(OrderedDict(ops=ops)))
            seen = wide

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return four narrow stages."""
        return {"width": 4}

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the output of each stage before it is pooled, finest first."""
        x = lay_out(x)
        maps: list[Tensor] = []
        for name in self.stages:
            x = self.get_submodule(name)(self.pool(x) if maps else x)
            maps.append(x)
        return maps
