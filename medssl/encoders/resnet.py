"""ResNets on MONAI's class, whose names they keep: MedicalNet's networks with their strides.

He et al. 2016, arXiv:1512.03385; 3D and weights: Chen et al. 2019, "Med3D", arXiv:1904.00625.
``encoder.state_dict()`` loads into ``monai.networks.nets.ResNet(feed_forward=False, …)`` unchanged.
Ours differs from MONAI's class, with the same numbers going forward: the chosen norm reaches every
block (MONAI passes it to the stem alone), and shortcuts of type A pass the gradient (MONAI cuts
it).
``dilated=True`` is MedicalNet's own geometry: the last two stages keep the resolution of the second
and dilate instead. Keys are the same, and so is the shape of every weight; features are not.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import torch.nn.functional as F
from monai.networks.nets.resnet import ResNet as MonaiResNet
from monai.networks.nets.resnet import ResNetBlock, ResNetBottleneck
from torch import Tensor, nn

from medssl.encoders.base import Encoder, register_variants
from medssl.encoders.convolution import lay_out

__all__ = ["ResNet"]

NORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "batch": ("batch", {}),
    "instance": ("instance", {"affine": True}),
    "group": ("group", {"num_groups": 8}),
}


@register_variants(
    resnet10={"block": "basic", "layers": (1, 1, 1, 1), "shortcut": "B"},
    resnet18={"block": "basic", "layers": (2, 2, 2, 2), "shortcut": "A"},
    resnet34={"block": "basic", "layers": (3, 4, 6, 3), "shortcut": "A"},
    resnet50={"block": "bottleneck", "layers": (3, 4, 6, 3), "shortcut": "B"},
    resnet101={"block": "bottleneck", "layers": (3, 4, 23, 3), "shortcut": "B"},
    resnet152={"block": "bottleneck", "layers": (3, 8, 36, 3), "shortcut": "B"},
    resnet200={"block": "bottleneck", "layers": (3, 24, 36, 3), "shortcut": "B"},
)
class ResNet(Encoder, MonaiResNet):
    """A stem and four stages, each at half the resolution of the one before.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the input.
        patch: Not used: convolutions fit any size.
        block: Two convolutions, or three with a narrow one between.
        layers: Blocks of each stage.
        shortcut: How a shortcut changes its width: ``A`` adds empty channels, ``B`` projects.
        norm: ``batch`` as published; ``instance`` and ``group`` do not depend on the batch.
        stem_stride: Of the first convolution; 2 as MedicalNet, 1 as MONAI's own default.
        max_pool: Whether the stem pools before the first stage.
        widen: Factor of all widths.
        dilated: Whether the third and fourth stage dilate by 2 and 4 in place of halving the
            resolution: the function that MedicalNet's weights were trained as.
    """

    def __init__(
        self,
        *,
        spatial_dims: int = 3,
        in_channels: int = 1,
        patch: tuple[int, ...] = (96, 96, 96),  # noqa: ARG002
        block: Literal["basic", "bottleneck"] = "basic",
        layers: tuple[int, ...] = (2, 2, 2, 2),
        shortcut: Literal["A", "B"] = "A",
        norm: Literal["batch", "instance", "group"] = "batch",
        stem_stride: int = 2,
        max_pool: bool = True,
        widen: float = 1.0,
        dilated: bool = False,
    ) -> None:
        # before MONAI builds the stages, which ask for it
        self.stage_norm = NORMS[norm]
        super().__init__(
            block=block,
            layers=list(layers),
            block_inplanes=[64, 128, 256, 512],
            spatial_dims=spatial_dims,
            n_input_channels=in_channels,
            conv1_t_stride=stem_stride,
            no_max_pool=not max_pool,
            shortcut_type=shortcut,
            widen_factor=widen,
            feed_forward=False,
            bias_downsample=False,
            norm=self.stage_norm,
        )
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        expansion = 4 if block == "bottleneck" else 1
        width = int(64 * widen)
        stages = tuple(int(planes * widen) * expansion for planes in (64, 128, 256, 512))
        self.channels = (width, *stages)
        first = stem_stride * (2 if max_pool else 1)
        edges = (stem_stride, *(first * 2 ** min(stage, 1 if dilated else 3) for stage in range(4)))
        self.strides = tuple((edge,) * spatial_dims for edge in edges)
        if dilated:
            _dilate(self.layer3, 2)
            _dilate(self.layer4, 4)

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return one narrow block a stage."""
        return {"layers": (1, 1, 1, 1), "widen": 0.125}

    def _make_layer(self, *args: Any, **kwargs: Any) -> nn.Sequential:
        kwargs["norm"] = self.stage_norm
        return super()._make_layer(*args, **kwargs)

    def _downsample_basic_block(
        self, x: Tensor, planes: int, stride: int, spatial_dims: int = 3
    ) -> Tensor:
        thinned = x[(slice(None),) * 2 + (slice(None, None, stride),) * spatial_dims]
        return F.pad(thinned, (0, 0) * spatial_dims + (0, planes - x.shape[1]))

    def forward(self, x: Tensor) -> list[Tensor]:  # type: ignore[override]  # maps, not scores
        """Return the stem before pooling, then the output of each stage."""
        x = self.act(self.bn1(self.conv1(lay_out(x))))
        maps = [x]
        if not self.no_max_pool:
            x = self.maxpool(x)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            maps.append(x)
        return maps


def _dilate(stage: nn.Sequential, dilation: int) -> None:
    """Let the convolutions of a stage reach as far as they did, without a stride."""
    for part in stage.modules():
        if isinstance(part, nn.Conv2d | nn.Conv3d):
            dims = len(part.kernel_size)
            part.stride = (1,) * dims
            if part.kernel_size[0] > 1:
                part.dilation = part.padding = (dilation,) * dims
        elif isinstance(part, ResNetBlock | ResNetBottleneck):
            shortcut = part.downsample
            if isinstance(shortcut, partial):
                part.downsample = partial(shortcut.func, **{**shortcut.keywords, "stride": 1})
