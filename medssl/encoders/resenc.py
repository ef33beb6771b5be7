"""The residual encoder of nnU-Net, under its own names.

Isensee et al. 2024, "nnU-Net Revisited", arXiv:2404.09556; reference:
``dynamic_network_architectures`` (``ResidualEncoder`` with ``BasicBlockD``). ``resenc_l`` has its
numbers. nnU-Net's presets M to XL differ in the patch and not in the network; here M keeps the
widths of L with half of its blocks, and S is made for two CPU cores: half the widths, one block a
stage and five stages, so that a crop of 64 voxels ends at 4 and one of 32 at 2.
Ours differs: odd sizes are allowed (the pooled shortcut rounds up as the convolution does), and
every tensor has one name (there each convolution is also filed under ``all_modules``).
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from medssl.encoders.base import register_variants
from medssl.encoders.convolution import SLOPE, ConvBlock
from medssl.encoders.staged import Stack, StagedEncoder

__all__ = ["ResidualEncoder"]

POOL: dict[int, type[nn.AvgPool2d | nn.AvgPool3d]] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
WIDE = (32, 64, 128, 256, 320, 320)


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut, which pools before it projects (ResNet-D)."""

    def __init__(
        self, dims: int, in_channels: int, out_channels: int, stride: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.conv1 = ConvBlock(dims, in_channels, out_channels, stride=stride)
        self.conv2 = ConvBlock(dims, out_channels, out_channels, active=False)
        shortcut: list[nn.Module] = []
        if max(stride) > 1:
            # an odd edge is averaged over what is there, so that both ways agree in size
            shortcut.append(POOL[dims](stride, stride, ceil_mode=True))  # type: ignore[arg-type]
        if in_channels != out_channels:
            shortcut.append(
                ConvBlock(dims, in_channels, out_channels, kernel=1, bias=False, active=False)
            )
        self.skip = nn.Sequential(*shortcut)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(B, out_channels, …)``, ``ceil(size / stride)`` voxels along each axis."""
        shortcut = self.skip(_wide_enough(x, self.stride))
        return F.leaky_relu(self.conv2(self.conv1(x)) + shortcut, SLOPE, inplace=True)


def _wide_enough(x: Tensor, window: tuple[int, ...]) -> Tensor:
    """Repeat the last voxel of axes that are shorter than a pool's window, which torch refuses."""
    if type(x) is not Tensor:  # blocks of an image bring their own pool
        return x
    missing = [max(0, edge - size) for edge, size in zip(window, x.shape[2:], strict=True)]
    if not any(missing):
        return x
    return F.pad(x, [n for gap in reversed(missing) for n in (0, gap)], mode="replicate")


@register_variants(
    resenc_xs={"features": (16, 32, 64, 96, 96), "blocks": (1, 1, 1, 1, 1)},
    resenc_s={"features": (16, 32, 64, 128, 192), "blocks": (1, 1, 1, 1, 1)},
    resenc_m={"features": WIDE, "blocks": (1, 2, 2, 3, 3, 3)},
    resenc_l={"features": WIDE, "blocks": (1, 3, 4, 6, 6, 6)},
)
class ResidualEncoder(StagedEncoder):
    """Residual stages, the first at full resolution.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the input.
        patch: Not used: convolutions fit any size.
        features: Channels of each stage.
        blocks: Residual blocks of each stage.
        stage_strides: Stride of each stage along each axis; by default 1, then 2 everywhere. Give
            1 along the slices of thick-sliced scans, as nnU-Net does.

    Raises:
        ConfigError: If these three disagree in length.
    """

    def __init__(
        self,
        *,
        spatial_dims: int = 3,
        in_channels: int = 1,
        patch: tuple[int, ...] = (96, 96, 96),  # noqa: ARG002
        features: tuple[int, ...] = WIDE,
        blocks: tuple[int, ...] = (1, 3, 4, 6, 6, 6),
        stage_strides: tuple[tuple[int, ...], ...] | None = None,
    ) -> None:
        super().__init__()
        strides = self._plan(spatial_dims, in_channels, features, blocks, stage_strides)
        self.stem = Stack("convs", ConvBlock(spatial_dims, in_channels, features[0]))
        width = features[0]
        for wider, count, stride in zip(features, blocks, strides, strict=True):
            first = ResidualBlock(spatial_dims, width, wider, stride)
            plain = (1,) * spatial_dims
            rest = (ResidualBlock(spatial_dims, wider, wider, plain) for _ in range(count - 1))
            self.stages.append(Stack("blocks", first, *rest))
            width = wider
        self._initialise()

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return three narrow stages, the second of two blocks."""
        return {"features": (4, 6, 8), "blocks": (1, 2, 1)}
