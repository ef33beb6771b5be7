"""What nnU-Net's encoders share: stages one after the other, each with its own stride."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from torch import Tensor, nn

from medssl.encoders.base import Encoder
from medssl.encoders.convolution import SLOPE, lay_out
from medssl.errors import ConfigError
from medssl.types import Shape

__all__ = ["Stack", "StagedEncoder"]


class Stack(nn.Sequential):
    """Modules under one more name, as the reference nests them (``stem.convs.0``)."""

    def __init__(self, name: str, *modules: nn.Module) -> None:
        super().__init__()
        self.add_module(name, nn.Sequential(*modules))


class StagedEncoder(Encoder):
    """An encoder whose maps are what its stages return.

    A subclass plans, adds a stage for each stride to ``stages``, and starts its weights.

    Attributes:
        stem: What comes before the first stage, at full resolution.
        stages: The stages, finest first.
    """

    stem: nn.Module
    stages: nn.Sequential

    def _plan(
        self,
        spatial_dims: int,
        in_channels: int,
        features: Sequence[int],
        counts: Sequence[int],
        stage_strides: Sequence[Shape] | None,
    ) -> list[Shape]:
        """Note sizes and strides, and return the stride of each stage.

        Raises:
            ConfigError: If these describe different stages.
        """
        if stage_strides is None:
            stage_strides = tuple((min(2, i + 1),) * spatial_dims for i in range(len(features)))
        if not len(features) == len(counts) == len(stage_strides) or any(
            len(stride) != spatial_dims for stride in stage_strides
        ):
            raise ConfigError(
                f"features {features}, {counts} blocks or convolutions and stage_strides "
                f"{stage_strides} describe different stages; give each one entry a stage, and "
                f"{spatial_dims} strides in each"
            )
        strides = [tuple(stride) for stride in stage_strides]
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.channels = tuple(features)
        self.strides = tuple(
            accumulate(strides, lambda a, b: tuple(m * n for m, n in zip(a, b, strict=True)))
        )
        self.stem = nn.Identity()
        self.stages = nn.Sequential()
        return strides

    def _initialise(self) -> None:
        """Start the weights as the reference does."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, SLOPE)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the output of each stage, finest first."""
        x = self.stem(lay_out(x))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps
