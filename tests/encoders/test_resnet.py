import pytest
import torch
from monai.networks.nets.resnet import ResNet as MonaiResNet
from torch import nn

from medssl.encoders import build_encoder

TWINS = {
    "resnet10": ("basic", [1, 1, 1, 1], "B"),
    "resnet18": ("basic", [2, 2, 2, 2], "A"),
    "resnet50": ("bottleneck", [3, 4, 6, 3], "B"),
}


@torch.no_grad()
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", TWINS)
def test_monai_loads_the_weights_and_gives_the_same_features(name, dims):
    block, layers, shortcut = TWINS[name]
    encoder = build_encoder(name, spatial_dims=dims, widen=0.125).eval()
    twin = MonaiResNet(
        block,
        layers,
        [64, 128, 256, 512],
        spatial_dims=dims,
        n_input_channels=1,
        conv1_t_stride=2,
        shortcut_type=shortcut,
        widen_factor=0.125,
        feed_forward=False,
        bias_downsample=False,
    ).eval()
    twin.load_state_dict(encoder.state_dict(), strict=True)
    x = torch.randn(2, 1, *(40, 33, 36)[:dims])
    torch.testing.assert_close(encoder.embed(x), twin(x), rtol=1e-5, atol=1e-6)


def test_the_gradient_passes_shortcuts_that_monai_cuts():
    encoder = build_encoder("resnet18", widen=0.125).eval()
    for stage in (encoder.layer2, encoder.layer3, encoder.layer4):
        for block in stage:
            nn.init.zeros_(block.bn2.weight)  # the shortcut alone is left
    encoder(torch.randn(1, 1, 32, 32, 32))[-1].sum().backward()
    assert encoder.conv1.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("norm", ["instance", "group"])
def test_the_chosen_norm_reaches_every_block(norm):
    encoder = build_encoder("resnet50", norm=norm, widen=0.125, layers=(1, 1, 1, 1))
    assert not any(isinstance(m, nn.BatchNorm3d) for m in encoder.modules())
    x = torch.randn(2, 1, 48, 48, 40)
    alone, together = encoder(x[:1])[-1], encoder(x)[-1][:1]
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "edges"),
    [
        ({}, [2, 4, 8, 16, 32]),
        ({"max_pool": False}, [2, 2, 4, 8, 16]),
        ({"stem_stride": 1}, [1, 2, 4, 8, 16]),
        ({"stem_stride": 1, "max_pool": False}, [1, 1, 2, 4, 8]),
    ],
)
def test_the_stem_decides_the_strides(options, edges):
    encoder = build_encoder("resnet18", spatial_dims=2, widen=0.125, **options)
    assert [stride[0] for stride in encoder.strides] == edges
    maps = encoder(torch.randn(2, 1, 64, 64))
    assert [features.shape[-1] for features in maps] == [64 // edge for edge in edges]
