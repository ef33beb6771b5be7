import pytest
import torch
import torch.nn.functional as F
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


def medicalnet(weights, x, layers, shortcut):
    """Return the last map of MedicalNet's network: stride 1 and dilation 2 and 4 at the end."""
    w = {key: value.double() for key, value in weights.items()}

    def norm(x, name):
        mean, var = w[f"{name}.running_mean"], w[f"{name}.running_var"]
        return F.batch_norm(x, mean, var, w[f"{name}.weight"], w[f"{name}.bias"])

    def conv(x, name, *, stride=1, dilation=1):
        weight = w[f"{name}.weight"]
        padding = dilation * (weight.shape[2] // 2)
        return F.conv3d(x, weight, None, stride, padding, dilation)

    x = norm(conv(x.double(), "conv1", stride=2), "bn1").relu()
    x = F.max_pool3d(x, 3, 2, 1)
    for stage, (count, first, dilation) in enumerate(
        zip(layers, (1, 2, 1, 1), (1, 1, 2, 4), strict=True), start=1
    ):
        for i in range(count):
            at, stride = f"layer{stage}.{i}", first if i == 0 else 1
            if f"{at}.conv3.weight" in w:
                y = norm(conv(x, f"{at}.conv1"), f"{at}.bn1").relu()
                y = conv(y, f"{at}.conv2", stride=stride, dilation=dilation)
                y = norm(conv(norm(y, f"{at}.bn2").relu(), f"{at}.conv3"), f"{at}.bn3")
            else:
                y = conv(x, f"{at}.conv1", stride=stride, dilation=dilation)
                y = conv(norm(y, f"{at}.bn1").relu(), f"{at}.conv2", dilation=dilation)
                y = norm(y, f"{at}.bn2")
            if f"{at}.downsample.0.weight" in w:
                x = conv(x, f"{at}.downsample.0", stride=stride)
                x = norm(x, f"{at}.downsample.1")
            elif x.shape[1] != y.shape[1]:
                assert shortcut == "A"
                x = F.avg_pool3d(x, 1, stride)
                x = torch.cat([x, x.new_zeros(len(x), y.shape[1] - x.shape[1], *x.shape[2:])], 1)
            x = (y + x).relu()
    return x.float()


@torch.no_grad()
@pytest.mark.parametrize("name", TWINS)
def test_dilated_it_is_the_network_of_medicalnet(name):
    _, layers, shortcut = TWINS[name]
    strided = build_encoder(name, widen=0.125).eval()
    for part in strided.modules():
        if isinstance(part, nn.BatchNorm3d):
            part.running_mean.normal_(std=0.1)
            part.running_var.uniform_(0.5, 2)
    dilated = build_encoder(name, widen=0.125, dilated=True).eval()
    dilated.load_state_dict(strided.state_dict(), strict=True)
    x = torch.randn(1, 1, 40, 33, 48)
    maps = dilated(x)
    expected = medicalnet(strided.state_dict(), x, layers, shortcut)
    assert maps[-1].shape == expected.shape
    assert (maps[-1] - expected).norm() < 1e-5 * expected.norm()
    assert [stride[0] for stride in dilated.strides] == [2, 4, 8, 8, 8]
    assert [features.shape[2] for features in maps] == [20, 10, 5, 5, 5]
    other = dilated.embed(x) - strided.embed(x)
    assert other.norm() > 0.01 * strided.embed(x).norm()


def test_a_dilated_one_learns_in_2d_and_with_every_shortcut():
    for name in TWINS:
        encoder = build_encoder(name, spatial_dims=2, widen=0.125, dilated=True)
        encoder(torch.randn(2, 1, 33, 40))[-1].square().sum().backward()
        assert all(p.grad is not None for p in encoder.parameters())
