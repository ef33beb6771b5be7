"""Masked convolution on visible blocks against masking whole maps after every convolution."""

import copy

import pytest
import torch
from torch import nn

from medssl.encoders import build_encoder
from medssl.encoders.base import upsample_mask
from medssl.encoders.convolution import InstanceNorm
from medssl.encoders.densify import Densify, sparse_levels
from medssl.encoders.sparse import VisibleBlocks, visible_maps
from medssl.errors import ConfigError
from medssl.parts.masking import RandomCells

MASKED = nn.Conv2d | nn.Conv3d | nn.AvgPool2d | nn.AvgPool3d | nn.MaxPool2d | nn.MaxPool3d
RESENC = {"features": (4, 6, 8, 10), "blocks": (1, 2, 1, 1)}
SMALL = {"widen": 0.125}
CASES = [
    ("resenc_s", RESENC, 8),
    ("resenc_s", RESENC, 4),  # the coarsest map is coarser than the cells
    ("resnet10", SMALL, 8),
    ("resnet18", {**SMALL, "max_pool": False}, 16),
    ("resnet50", {**SMALL, "norm": "instance"}, 8),
    ("resnet10", {**SMALL, "dilated": True}, 8),
    ("segresnet", {"width": 4, "blocks": (1, 2, 1), "norm": "instance"}, 8),
    ("segresnet_ds", {"width": 4, "blocks": (1, 2, 1)}, 8),
    ("unet_genesis", {"width": 4}, 8),
]


def build(name, config, dims):
    torch.manual_seed(0)
    return build_encoder(name, spatial_dims=dims, **config).double()


def image_and_mask(dims, cell, ratio=0.7):
    x = torch.randn(2, 1, *(32, 64, 32)[:dims], dtype=torch.float64)
    hidden = RandomCells(ratio=ratio, size=cell)(x.shape, torch.Generator().manual_seed(1))
    return x, hidden


def dense(features):
    return features.dense() if isinstance(features, VisibleBlocks) else features


class MaskAfterEach:
    """The published form, one voxel of mask at a time and with plain statistics."""

    def __init__(self, encoder, hidden, *, mask_input=True):
        self.encoder, self.hidden, self.mask_input = copy.deepcopy(encoder), hidden, mask_input
        for module in self.encoder.modules():
            if isinstance(module, MASKED):
                module.register_forward_hook(lambda _, __, found: found * self.at(found))
            elif isinstance(module, InstanceNorm | nn.modules.batchnorm._NormBase):
                module.forward = lambda x, norm=module: self.normalise(norm, x)

    def at(self, features):
        grid, shape = self.hidden.shape[1:], features.shape[2:]
        if any(size < cells for size, cells in zip(shape, grid, strict=True)):
            return torch.ones(len(features), 1, *shape, dtype=features.dtype)
        return (~upsample_mask(self.hidden, tuple(shape))).to(features.dtype)

    def normalise(self, norm, x):
        mask = self.at(x)
        whole = isinstance(norm, nn.BatchNorm2d | nn.BatchNorm3d)
        axes = tuple(range(2, x.ndim))
        axes = (0, *axes) if whole else axes
        count = mask.sum(dim=axes, keepdim=True)
        mean = (x * mask).sum(dim=axes, keepdim=True) / count
        variance = ((x - mean).square() * mask).sum(dim=axes, keepdim=True) / count
        shape = (1, -1, *[1] * (x.ndim - 2))
        scaled = (x - mean) / (variance + 1e-5).sqrt() * norm.weight.view(shape)
        return (scaled + norm.bias.view(shape)) * mask

    def __call__(self, x):
        if self.mask_input:
            x = x.masked_fill(upsample_mask(self.hidden, tuple(x.shape[2:])), 0.0)
        maps = self.encoder(x)
        return [found * self.at(found) for found in maps]


@torch.no_grad()
@pytest.mark.parametrize("dims", [3, 2])
@pytest.mark.parametrize(("name", "config", "cell"), CASES)
def test_with_nothing_hidden_it_is_the_plain_encoder(name, config, cell, dims):
    encoder = build(name, config, dims).eval()
    x, hidden = image_and_mask(dims, cell)
    for ours, plain in zip(
        visible_maps(encoder, x, torch.zeros_like(hidden)), encoder(x), strict=True
    ):
        torch.testing.assert_close(dense(ours), plain, rtol=1e-6, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("dims", [3, 2])
@pytest.mark.parametrize(("name", "config", "cell"), CASES)
def test_it_is_masking_the_image_and_after_every_convolution(name, config, cell, dims):
    encoder = build(name, config, dims)
    x, hidden = image_and_mask(dims, cell)
    naive = MaskAfterEach(encoder, hidden)(x)
    for ours, theirs in zip(visible_maps(encoder, x, hidden), naive, strict=True):
        torch.testing.assert_close(dense(ours), theirs, rtol=1e-8, atol=1e-8)


def test_gradients_are_those_of_masking_after_every_convolution():
    encoder = build("resenc_s", RESENC, 3)
    x, hidden = image_and_mask(3, 8)
    naive = MaskAfterEach(encoder, hidden)
    weights = [torch.randn_like(found) for found in naive(x)]
    both = []
    for maps, network in (
        (visible_maps(encoder, x, hidden), encoder),
        (naive(x), naive.encoder),
    ):
        sum((dense(m) * w).sum() for m, w in zip(maps, weights, strict=True)).backward()
        both.append([parameter.grad for parameter in network.parameters()])
    for ours, theirs in zip(*both, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-7)


@torch.no_grad()
def test_hidden_voxels_reach_nothing_and_do_where_the_image_is_not_masked():
    """The defect: nnssl's first convolution sees hidden voxels at the borders of cells."""
    encoder = build("resenc_s", RESENC, 3)
    x, hidden = image_and_mask(3, 8)
    voxels = upsample_mask(hidden, tuple(x.shape[2:]))
    other = torch.where(voxels, x + 1e3, x)
    for before, after in zip(
        visible_maps(encoder, x, hidden), visible_maps(encoder, other, hidden), strict=True
    ):
        assert torch.equal(dense(before), dense(after))
    leaky = MaskAfterEach(encoder, hidden, mask_input=False)
    assert not torch.allclose(leaky(x)[0], leaky(other)[0])


def test_maps_are_blocks_down_to_one_voxel_a_cell():
    encoder = build("resenc_s", RESENC, 3)
    x, hidden = image_and_mask(3, 4)
    kinds = [isinstance(found, VisibleBlocks) for found in visible_maps(encoder, x, hidden)]
    assert kinds == [True, True, True, False]
    assert sparse_levels(encoder.float(), hidden.shape[1:], x.shape[2:]) == kinds


def test_an_encoder_that_is_no_cnn_is_refused():
    for name in ("swin_base", "vit_tiny"):
        encoder = build_encoder(name, patch=(32, 32, 32))
        with pytest.raises(ConfigError, match=r"does not know.*; choose a convolutional"):
            sparse_levels(encoder, (2, 2, 2), (32, 32, 32))


def test_a_stride_that_crosses_cells_is_refused():
    encoder = build("resenc_s", RESENC, 3).float()
    with pytest.raises(ConfigError, match=r"method\.mask_size"):
        sparse_levels(encoder, (2, 2, 2), (12, 12, 12))


def test_samples_must_show_equally_many_cells():
    hidden = torch.zeros(2, 2, 2, 2, dtype=torch.bool)
    hidden[0, 0] = True
    with pytest.raises(ConfigError, match=r"show \[4, 8\] cells"):
        visible_maps(build("resenc_s", RESENC, 3), torch.zeros(2, 1, 16, 16, 16), hidden)


@pytest.mark.parametrize("full", [False, True])
def test_hidden_places_get_the_token_of_their_level(full):
    encoder = build("resenc_s", RESENC, 3)
    x, hidden = image_and_mask(3, 4)
    maps = visible_maps(encoder, x, hidden)
    densify = Densify(encoder, [True, True, True, False], full=full).double()
    filled = densify(maps)
    naive = MaskAfterEach(encoder, hidden)
    for level, (found, features) in enumerate(zip(filled, maps, strict=True)):
        expected = dense(features)
        if full:
            expected = naive.normalise(densify.norms[level], expected)
        if level < 3:
            token = densify.tokens[str(level)].view(1, -1, 1, 1, 1)
            expected = expected + token * (1 - naive.at(expected))
        if full:
            expected = densify.convolutions[level](expected)
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)
    weights = torch.randn_like(filled[0])
    (filled[0] * weights).sum().backward()
    places = upsample_mask(hidden, tuple(x.shape[2:])).expand_as(weights)
    asked = torch.where(places, weights, 0.0).sum(dim=(0, 2, 3, 4))
    torch.testing.assert_close(densify.tokens["0"].grad, asked)
