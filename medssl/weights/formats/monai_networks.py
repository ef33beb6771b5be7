"""Which of MONAI's classes an encoder is, with which options: its tensors load unchanged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from medssl.encoders.base import ENCODERS, Encoder
from medssl.encoders.resnet import ResNet
from medssl.encoders.segresnet import NORMS, DeepSegResNet, SegResNet
from medssl.encoders.swin import Swin
from medssl.encoders.vit import ViT

__all__ = ["MonaiNetwork", "monai_network"]


@dataclass(frozen=True)
class MonaiNetwork:
    """A class of MONAI and how to build it.

    Attributes:
        target: Where the class is.
        arguments: Its keyword arguments, primitives only.
        family: What :class:`~medssl.weights.formats.bundled.Features` calls it.
        reading: What else ``Features`` must know to read the maps.
    """

    target: str
    arguments: dict[str, Any]
    family: str
    reading: dict[str, Any] = field(default_factory=dict)


def monai_network(encoder: Encoder) -> MonaiNetwork | None:
    """Return the network of MONAI that computes what an encoder computes; none if there is none."""
    options = {**_defaults(encoder), **ENCODERS[encoder.name].preset, **encoder.config}
    if isinstance(encoder, Swin):
        return _swin(encoder, options)
    if isinstance(encoder, ResNet):
        return _resnet(encoder, options)
    if isinstance(encoder, SegResNet | DeepSegResNet):
        return _segresnet(encoder, options)
    if isinstance(encoder, ViT):
        return _vit(encoder, options)
    return None


def _defaults(encoder: Encoder) -> dict[str, Any]:
    import inspect

    parameters = inspect.signature(type(encoder).__init__).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _swin(encoder: Swin, options: dict[str, Any]) -> MonaiNetwork | None:
    if options["merge_order"] != "monai" and encoder.spatial_dims == 3:
        return None
    dims = encoder.spatial_dims
    return MonaiNetwork(
        "monai.networks.nets.swin_unetr.SwinTransformer",
        {
            "in_chans": encoder.in_channels,
            "embed_dim": options["width"],
            "window_size": [options["window"]] * dims,
            "patch_size": [2] * dims,
            "depths": list(options["depths"]),
            "num_heads": list(options["heads"]),
            "spatial_dims": dims,
            "downsample": "merging",
            "use_v2": options["version"] == 2,
        },
        "swin",
        {"normalise": encoder.normalise},
    )


def _resnet(encoder: ResNet, options: dict[str, Any]) -> MonaiNetwork | None:
    # MONAI has no dilation, and gives a chosen norm to the stem alone
    if options["dilated"] or options["norm"] != "batch":
        return None
    return MonaiNetwork(
        "monai.networks.nets.resnet.ResNet",
        {
            "block": options["block"],
            "layers": list(options["layers"]),
            "block_inplanes": [64, 128, 256, 512],
            "spatial_dims": encoder.spatial_dims,
            "n_input_channels": encoder.in_channels,
            "conv1_t_stride": options["stem_stride"],
            "no_max_pool": not options["max_pool"],
            "shortcut_type": options["shortcut"],
            "widen_factor": options["widen"],
            "feed_forward": False,
            "bias_downsample": False,
        },
        "resnet",
    )


def _segresnet(encoder: SegResNet | DeepSegResNet, options: dict[str, Any]) -> MonaiNetwork:
    deep = isinstance(encoder, DeepSegResNet)
    kind, arguments = NORMS[options["norm"]]
    return MonaiNetwork(
        "monai.networks.nets.segresnet_ds.SegResEncoder"
        if deep
        else "monai.networks.nets.segresnet.SegResNet",
        {
            "spatial_dims": encoder.spatial_dims,
            "init_filters": options["width"],
            "in_channels": encoder.in_channels,
            "norm": [kind, arguments],
            "blocks_down": list(options["blocks"]),
        },
        "segresnet_ds" if deep else "segresnet",
    )


def _vit(encoder: ViT, options: dict[str, Any]) -> MonaiNetwork | None:
    dims, width = encoder.spatial_dims, options["width"]
    like_monai = {
        "positions": "sincos",
        "class_token": False,
        "registers": 0,
        "norm_eps": 1e-5,
        "layer_scale": None,
    }
    known = {"spatial_dims", "in_channels", "patch", "token", "width", "depth", "heads"}
    known |= {"mlp_ratio", "qkv_bias"} | set(like_monai)
    if set(options) - known or any(
        options.get(name, value) != value for name, value in like_monai.items()
    ):
        return None
    if width % (2 * dims):
        return None  # MONAI has no sine positions of such a width
    return MonaiNetwork(
        "monai.networks.nets.vit.ViT",
        {
            "in_channels": encoder.in_channels,
            "img_size": [g * t for g, t in zip(encoder.grid, encoder.token, strict=True)],
            "patch_size": list(encoder.token),
            "hidden_size": width,
            "mlp_dim": int(width * options["mlp_ratio"]),
            "num_layers": options["depth"],
            "num_heads": options["heads"],
            "proj_type": "conv",
            "pos_embed_type": "sincos",
            "spatial_dims": dims,
            "qkv_bias": options["qkv_bias"],
        },
        "vit",
        {"taken": list(encoder.taken), "token": list(encoder.token)},
    )
