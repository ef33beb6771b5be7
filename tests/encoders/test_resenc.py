import pytest
import torch
import torch.nn.functional as F

from medssl.encoders import build_encoder
from medssl.encoders.convolution import InstanceNorm
from medssl.errors import ConfigError


def reference(weights, x, blocks):
    """Write down nnU-Net's residual encoder as its published definition has it, for even sizes."""

    def block(x, name, *, stride=1, edge=3, active=True):
        bias = weights.get(f"{name}.conv.bias")
        x = F.conv3d(x, weights[f"{name}.conv.weight"], bias, stride, edge // 2)
        norm = weights[f"{name}.norm.weight"], weights[f"{name}.norm.bias"]
        x = F.instance_norm(x, weight=norm[0], bias=norm[1])
        return F.leaky_relu(x, 0.01) if active else x

    x, maps = block(x, "stem.convs.0"), []
    for stage, count in enumerate(blocks):
        for index in range(count):
            name = f"stages.{stage}.blocks.{index}"
            stride = 2 if stage and not index else 1
            shortcut = F.avg_pool3d(x, 2) if stride == 2 else x
            projection = f"{name}.skip.{stride - 1}"
            if f"{projection}.conv.weight" in weights:
                shortcut = block(shortcut, projection, edge=1, active=False)
            x = block(x, f"{name}.conv1", stride=stride)
            x = F.leaky_relu(block(x, f"{name}.conv2", active=False) + shortcut, 0.01)
        maps.append(x)
    return maps


@torch.no_grad()
def test_it_is_the_function_of_nnunet():
    blocks = (1, 2, 2)
    encoder = build_encoder("resenc_l", features=(4, 8, 8), blocks=blocks)
    x = torch.randn(2, 1, 16, 24, 8)
    expected = reference(encoder.state_dict(), x, blocks)
    for ours, theirs in zip(encoder(x), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_the_large_one_has_the_published_numbers_and_names():
    with torch.device("meta"):
        encoder = build_encoder("resenc_l")
    assert encoder.channels == (32, 64, 128, 256, 320, 320)
    assert [stride[0] for stride in encoder.strides] == [1, 2, 4, 8, 16, 32]
    assert [len(stage.blocks) for stage in encoder.stages] == [1, 3, 4, 6, 6, 6]
    shapes = {name: tuple(t.shape) for name, t in encoder.state_dict().items()}
    assert shapes["stem.convs.0.conv.weight"] == (32, 1, 3, 3, 3)
    assert shapes["stages.0.blocks.0.conv2.norm.bias"] == (32,)
    assert shapes["stages.1.blocks.0.skip.1.conv.weight"] == (64, 32, 1, 1, 1)
    assert "stages.0.blocks.0.skip.0.conv.weight" not in shapes
    assert "stages.1.blocks.0.skip.1.conv.bias" not in shapes


@torch.no_grad()
def test_thick_slices_keep_their_resolution():
    strides = ((1, 1, 1), (2, 2, 1), (2, 2, 2))
    encoder = build_encoder("resenc_s", features=(4, 4, 4), blocks=(1, 1, 1), stage_strides=strides)
    assert encoder.strides == ((1, 1, 1), (2, 2, 1), (4, 4, 2))
    maps = encoder(torch.randn(1, 1, 16, 16, 5))
    assert [tuple(m.shape[2:]) for m in maps] == [(16, 16, 5), (8, 8, 5), (4, 4, 3)]


def test_stages_must_agree():
    with pytest.raises(ConfigError, match="one entry a stage"):
        build_encoder("resenc_s", features=(4, 4))


def test_instance_norm_is_that_of_torch():
    x = torch.randn(2, 6, 3, 4, 5)
    norm = InstanceNorm(6)
    torch.nn.init.normal_(norm.weight)
    expected = F.instance_norm(x, weight=norm.weight, bias=norm.bias)
    torch.testing.assert_close(norm(x), expected, rtol=1e-5, atol=1e-6)


def test_a_map_of_one_voxel_is_not_normalised_away():
    encoder = build_encoder("resenc_s", features=(4, 4), blocks=(1, 1))
    a, b = encoder(torch.randn(2, 1, 2, 2, 2))[-1]
    assert a.shape == (4, 1, 1, 1)
    assert not torch.allclose(a, b)


@pytest.mark.parametrize("size", [(16, 16, 3), (1, 5, 9), (1, 1, 1)])
def test_slabs_thinner_than_the_coarsest_stride_go_through(size):
    torch.manual_seed(0)
    encoder = build_encoder("resenc_s", features=(4, 6, 8, 8), blocks=(1, 1, 1, 1)).eval()
    maps = encoder(torch.randn(2, 1, *size))
    for features, stride in zip(maps, encoder.strides, strict=True):
        assert features.shape[2:] == tuple(-(-n // s) for n, s in zip(size, stride, strict=True))
        assert torch.isfinite(features).all()
