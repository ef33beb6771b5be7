"""The plain encoder of nnU-Net, two convolutions a stage, under its own names.

Isensee et al. 2021, "nnU-Net", Nature Methods 18; reference: ``dynamic_network_architectures``
(``PlainConvEncoder``); weights: VoComni for nnU-Net (Wu et al. 2024, arXiv:2410.09890).
Ours differs: every tensor has one name (there each convolution is also filed under
``all_modules``), and kernels have three voxels along each axis.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from torch import Tensor, nn

from medssl.encoders.base import Encoder, register_variants
from medssl.encoders.convolution import SLOPE, ConvBlock, lay_out
from medssl.errors import ConfigError

__all__ = ["PlainEncoder"]


class Stack(nn.Module):
    """Convolutions under one name, as the reference nests them (``stages.0.0.convs.0``)."""

    def __init__(self, *convolutions: nn.Module) -> None:
        super().__init__()
        self.convs = nn.Sequential(*convolutions)

    def forward(self, x: Tensor) -> Tensor:
        """Apply one after the other."""
        out: Tensor = self.convs(x)
        return out


@register_variants(plainconv={})
class PlainEncoder(Encoder):
    """Stages of convolutions, the first of each with the stride.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the input.
        patch: Not used: convolutions fit any size.
        features: Channels of each stage.
        convolutions: Convolutions of each stage.
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
        features: tuple[int, ...] = (32, 64, 128, 256, 320, 320),
        convolutions: tuple[int, ...] = (2, 2, 2, 2, 2, 2),
        stage_strides: tuple[tuple[int, ...], ...] | None = None,
    ) -> None:
        super().__init__()
        if stage_strides is None:
            stage_strides = tuple((min(2, i + 1),) * spatial_dims for i in range(len(features)))
        if not len(features) == len(convolutions) == len(stage_strides) or any(
            len(stride) != spatial_dims for stride in stage_strides
        ):
            raise ConfigError(
                f"features {features}, convolutions {convolutions} and stage_strides "
                f"{stage_strides} describe different stages; give each one entry a stage, and "
                f"{spatial_dims} strides in each"
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
        self.stages = nn.Sequential()
        width = in_channels
        for wider, count, stride in zip(features, convolutions, stage_strides, strict=True):
            first = ConvBlock(spatial_dims, width, wider, stride=tuple(stride))
            rest = (ConvBlock(spatial_dims, wider, wider) for _ in range(count - 1))
            self.stages.append(nn.Sequential(Stack(first, *rest)))
            width = wider
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, SLOPE)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return three narrow stages, the second of two convolutions."""
        return {"features": (4, 6, 8), "convolutions": (1, 2, 1)}

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the output of each stage, finest first."""
        x = lay_out(x)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps
