"""nnU-Net's residual U-Net as its published definition has it, with its names and its rules.

Written after ``dynamic_network_architectures`` (``ResidualEncoderUNet``) and nnU-Net's
``PretrainedTrainer``; neither is needed to run it.
"""

from __future__ import annotations

import pydoc

import torch
from torch import nn


class Block(nn.Module):
    """Convolution, norm, rectifier; the library files them once more as ``all_modules``."""

    def __init__(self, kinds, inside, outside, kernel, stride, *, bias, active):
        super().__init__()
        padding = [(edge - 1) // 2 for edge in kernel]
        self.conv = kinds["conv_op"](inside, outside, kernel, stride, padding, bias=bias)
        self.norm = kinds["norm_op"](outside, **kinds["norm_op_kwargs"])
        parts = [self.conv, self.norm]
        if active:
            parts.append(kinds["nonlin"](**kinds["nonlin_kwargs"]))
        self.all_modules = nn.Sequential(*parts)

    def forward(self, x):
        return self.all_modules(x)


class Residual(nn.Module):
    def __init__(self, kinds, inside, outside, kernel, stride):
        super().__init__()
        bias = kinds["conv_bias"]
        one = [1] * len(kernel)
        self.conv1 = Block(kinds, inside, outside, kernel, stride, bias=bias, active=True)
        self.conv2 = Block(kinds, outside, outside, kernel, one, bias=bias, active=False)
        skip = []
        if max(stride) > 1:
            pool = nn.AvgPool3d if len(kernel) == 3 else nn.AvgPool2d
            skip.append(pool(tuple(stride), tuple(stride)))
        if inside != outside:
            skip.append(Block(kinds, inside, outside, one, one, bias=False, active=False))
        if skip:
            self.skip = nn.Sequential(*skip)
        self.end = kinds["nonlin"](**kinds["nonlin_kwargs"])

    def forward(self, x):
        shortcut = self.skip(x) if hasattr(self, "skip") else x
        return self.end(self.conv2(self.conv1(x)) + shortcut)


class Stacked(nn.Module):
    def __init__(self, name, parts):
        super().__init__()
        setattr(self, name, nn.Sequential(*parts))

    def forward(self, x):
        for part in self.children():
            x = part(x)
        return x


class Encoder(nn.Module):
    def __init__(self, kinds, channels):
        super().__init__()
        widths, strides = kinds["features_per_stage"], kinds["strides"]
        kernels, counts = kinds["kernel_sizes"], kinds["n_blocks_per_stage"]
        one = [1] * len(kernels[0])
        first = Block(
            kinds, channels, widths[0], kernels[0], one, bias=kinds["conv_bias"], active=True
        )
        self.stem = Stacked("convs", [first])
        stages, inside = [], widths[0]
        for width, stride, kernel, count in zip(widths, strides, kernels, counts, strict=True):
            blocks = [Residual(kinds, inside, width, kernel, stride)]
            blocks += [Residual(kinds, width, width, kernel, one) for _ in range(count - 1)]
            stages.append(Stacked("blocks", blocks))
            inside = width
        self.stages = nn.Sequential(*stages)

    def forward(self, x):
        x, maps = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class Decoder(nn.Module):
    def __init__(self, kinds, encoder, classes):
        super().__init__()
        self.encoder = encoder
        widths, strides = kinds["features_per_stage"], kinds["strides"]
        kernels = kinds["kernel_sizes"]
        dims = len(kernels[0])
        lift = nn.ConvTranspose3d if dims == 3 else nn.ConvTranspose2d
        stages, lifts, heads = [], [], []
        for level in range(1, len(widths)):
            below, width, stride = widths[-level], widths[-level - 1], tuple(strides[-level])
            lifts.append(lift(below, width, stride, stride, bias=kinds["conv_bias"]))
            block = Block(
                kinds,
                2 * width,
                width,
                kernels[-level - 1],
                [1] * dims,
                bias=kinds["conv_bias"],
                active=True,
            )
            stages.append(Stacked("convs", [block]))
            heads.append(kinds["conv_op"](width, classes, 1))
        self.stages, self.transpconvs = nn.ModuleList(stages), nn.ModuleList(lifts)
        self.seg_layers = nn.ModuleList(heads)

    def forward(self, maps):
        x = maps[-1]
        for level, (stage, lift) in enumerate(zip(self.stages, self.transpconvs, strict=True)):
            x = stage(torch.cat([lift(x), maps[-level - 2]], dim=1))
        return self.seg_layers[-1](x)


class ResidualUNet(nn.Module):
    """Built from ``arch_kwargs`` of a plan, whose class names are imported as nnU-Net does."""

    key_to_encoder, key_to_stem = "encoder.stages", "encoder.stem"

    def __init__(self, arguments, imported, channels, classes):
        super().__init__()
        kinds = dict(arguments)
        for name in imported:
            kinds[name] = pydoc.locate(kinds[name]) if kinds[name] is not None else None
        self.encoder = Encoder(kinds, channels)
        self.decoder = Decoder(kinds, self.encoder, classes)

    def forward(self, x):
        return self.decoder(self.encoder(x))


def load_pretrained(network, checkpoint):
    """Fill encoder and stem as nnU-Net's pretrained trainer does: by prefix, strictly, in parts."""
    plan, weights = checkpoint["nnssl_adaptation_plan"], checkpoint["network_weights"]
    for key in ("key_to_encoder", "key_to_stem"):
        prefix = plan[key]
        part = {
            name.replace(prefix, "").removeprefix("."): tensor
            for name, tensor in weights.items()
            if name.startswith(prefix)
        }
        network.get_submodule(getattr(network, key)).load_state_dict(part, strict=True)
    for name in plan["keys_to_in_proj"]:
        assert weights[f"{name}.weight"].shape[1] == plan["pretrain_num_input_channels"]
    return network
