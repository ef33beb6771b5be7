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

from itertools import accumulate
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from medssl.encoders.base import Encoder, register_variants
from medssl.encoders.convolution import SLOPE, ConvBlock, lay_out
from medssl.errors import ConfigError

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


class Blocks(nn.Module):
    """Blocks under one name, as the reference nests them (``stages.0.blocks.0``)."""

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Apply one after the other."""
        out: Tensor = self.blocks(x)
        return out


class Stem(nn.Module):
    """The first convolution, as the reference nests it (``stem.convs.0``)."""

    def __init__(self, dims: int, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(ConvBlock(dims, in_channels, out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(B, out_channels, …)`` at full resolution."""
        out: Tensor = self.convs(x)
        return out


@register_variants(
    resenc_xs={"features": (16, 32, 64, 96, 96), "blocks": (1, 1, 1, 1, 1)},
    resenc_s={"features": (16, 32, 64, 128, 192), "blocks": (1, 1, 1, 1, 1)},
    resenc_m={"features": WIDE, "blocks": (1, 2, 2, 3, 3, 3)},
    resenc_l={"features": WIDE, "blocks": (1, 3, 4, 6, 6, 6)},
)
class ResidualEncoder(Encoder):
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
        if stage_strides is None:
            stage_strides = tuple((min(2, i + 1),) * spatial_dims for i in range(len(features)))
        if not len(features) == len(blocks) == len(stage_strides) or any(
            len(stride) != spatial_dims for stride in stage_strides
        ):
            raise ConfigError(
                f"features {features}, blocks {blocks} and stage_strides {stage_strides} describe "
                f"different stages; give each one entry a stage, and {spatial_dims} strides in each"
            )
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.channels = tuple(features)
        self.strides = tuple(
            accumulate(
                map(tuple, stage_strides),
                lambda a, b: tuple(m * n for m, n in zip(a, b, strict=True)),
            )
        )
        self.stem = Stem(spatial_dims, in_channels, features[0])
        self.stages = nn.Sequential()
        width = features[0]
        for wider, count, stride in zip(features, blocks, stage_strides, strict=True):
            first = ResidualBlock(spatial_dims, width, wider, tuple(stride))
            plain = (1,) * spatial_dims
            rest = (ResidualBlock(spatial_dims, wider, wider, plain) for _ in range(count - 1))
            self.stages.append(Blocks(first, *rest))
            width = wider
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, SLOPE)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return three narrow stages, the second of two blocks."""
        return {"features": (4, 6, 8), "blocks": (1, 2, 1)}

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the output of each stage, finest first."""
        x = self.stem(lay_out(x))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps
