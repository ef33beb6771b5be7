"""The plain encoder of nnU-Net, two convolutions a stage, under its own names.

Isensee et al. 2021, "nnU-Net", Nature Methods 18; reference: ``dynamic_network_architectures``
(``PlainConvEncoder``); weights: VoComni for nnU-Net (Wu et al. 2024, arXiv:2410.09890).
Ours differs: every tensor has one name (there each convolution is also filed under
``all_modules``), and kernels have three voxels along each axis.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from medssl.encoders.base import register_variants
from medssl.encoders.convolution import ConvBlock
from medssl.encoders.staged import Stack, StagedEncoder

__all__ = ["PlainEncoder"]


@register_variants(plainconv={})
class PlainEncoder(StagedEncoder):
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
        strides = self._plan(spatial_dims, in_channels, features, convolutions, stage_strides)
        width = in_channels
        for wider, count, stride in zip(features, convolutions, strides, strict=True):
            first = ConvBlock(spatial_dims, width, wider, stride=stride)
            rest = (ConvBlock(spatial_dims, wider, wider) for _ in range(count - 1))
            self.stages.append(nn.Sequential(Stack("convs", first, *rest)))
            width = wider
        self._initialise()

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return three narrow stages, the second of two convolutions."""
        return {"features": (4, 6, 8), "convolutions": (1, 2, 1)}
