"""The encoders of MONAI's SegResNet and SegResNetDS, whose names they keep.

Myronenko 2018, arXiv:1810.11654; weights: SuPreM (Li et al. 2024), which is ``segresnet``, and
CT-FM (Pai et al. 2025, arXiv:2501.09001), which is ``segresnet_ds``.
``encoder.state_dict()`` loads into ``monai.networks.nets.SegResNet`` unchanged, where the decoder
alone is missing, and that of ``segresnet_ds`` into ``monai.networks.nets.segresnet_ds.
SegResEncoder`` whole.
CT-FM read volumes whose axes run superior, posterior, left. ``axes="SPL"`` is that function of our
volumes: they are turned on their way in and the maps on their way out. Turning the kernels instead
would not do, for the strides of an even edge begin at its other end.
Ours differs: there is no decoder and no dropout, and all maps come out.
"""

from __future__ import annotations

from typing import Any, Literal

from monai.networks.nets.segresnet import SegResNet as MonaiSegResNet
from monai.networks.nets.segresnet_ds import SegResEncoder as MonaiSegResEncoder
from torch import Tensor, nn

from medssl.encoders.base import Encoder, register_variants
from medssl.encoders.convolution import lay_out

__all__ = ["DeepSegResNet", "SegResNet"]

Norm = Literal["group", "batch", "instance"]
NORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "group": ("group", {"num_groups": 8}),
    "batch": ("batch", {}),
    "instance": ("instance", {"affine": True}),
}


@register_variants(segresnet={})
class SegResNet(Encoder, MonaiSegResNet):
    """Residual blocks with the norm first; a convolution of stride 2 begins each stage but one.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the input.
        patch: Not used: convolutions fit any size.
        width: Channels of the first stage, doubled by each that follows.
        blocks: Residual blocks of each stage.
        norm: ``group`` as published, of eight groups, which must divide ``width``.
    """

    def __init__(
        self,
        *,
        spatial_dims: int = 3,
        in_channels: int = 1,
        patch: tuple[int, ...] = (96, 96, 96),  # noqa: ARG002
        width: int = 16,
        blocks: tuple[int, ...] = (1, 2, 2, 4),
        norm: Norm = "group",
    ) -> None:
        super().__init__(
            spatial_dims=spatial_dims,
            init_filters=width,
            in_channels=in_channels,
            norm=NORMS[norm],
            blocks_down=tuple(blocks),
        )
        _describe(self, spatial_dims, in_channels, width, len(blocks))

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return three narrow stages, the second of two blocks."""
        return {"width": 8, "blocks": (1, 2, 1)}

    def _make_up_layers(self) -> tuple[nn.ModuleList, nn.ModuleList]:
        return nn.ModuleList(), nn.ModuleList()

    def _make_final_conv(self, out_channels: int) -> nn.Sequential:  # noqa: ARG002
        return nn.Sequential()

    def forward(self, x: Tensor) -> list[Tensor]:  # type: ignore[override]  # maps, not scores
        """Return the output of each stage, finest first."""
        return self.encode(lay_out(x))[1]


@register_variants(segresnet_ds={})
class DeepSegResNet(Encoder, MonaiSegResEncoder):
    """As :class:`SegResNet`, with a convolution of stride 2 at the end of each stage but the last.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the input.
        patch: Not used: convolutions fit any size.
        width: Channels of the first stage, doubled by each that follows.
        blocks: Residual blocks of each stage.
        norm: ``batch`` as published; ``instance`` and ``group`` do not depend on the batch.
        axes: Where the axes of the volumes ran that the network was trained on. Input and maps are
            RAS either way; planar images are not turned.
    """

    def __init__(
        self,
        *,
        spatial_dims: int = 3,
        in_channels: int = 1,
        patch: tuple[int, ...] = (96, 96, 96),  # noqa: ARG002
        width: int = 32,
        blocks: tuple[int, ...] = (1, 2, 2, 4, 4),
        norm: Norm = "batch",
        axes: Literal["RAS", "SPL"] = "RAS",
    ) -> None:
        super().__init__(
            spatial_dims=spatial_dims,
            init_filters=width,
            in_channels=in_channels,
            norm=NORMS[norm],
            blocks_down=tuple(blocks),
        )
        _describe(self, spatial_dims, in_channels, width, len(blocks))
        self.is_turned = axes == "SPL" and spatial_dims == 3

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return three narrow stages, the second of two blocks."""
        return {"width": 8, "blocks": (1, 2, 1)}

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the output of each stage, finest first."""
        if not self.is_turned:
            return self._forward(lay_out(x))
        # (R, A, S) to (S, P, L), and back
        maps = self._forward(lay_out(x.permute(0, 1, 4, 3, 2).flip(3, 4)))
        return [one.flip(3, 4).permute(0, 1, 4, 3, 2) for one in maps]


def _describe(
    encoder: Encoder, spatial_dims: int, in_channels: int, width: int, stages: int
) -> None:
    """Set what the contract asks for: widths and strides double from stage to stage."""
    encoder.spatial_dims = spatial_dims
    encoder.in_channels = in_channels
    encoder.channels = tuple(width * 2**stage for stage in range(stages))
    encoder.strides = tuple((2**stage,) * spatial_dims for stage in range(stages))
