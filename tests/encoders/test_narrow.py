"""Convolutions that end one voxel wide, in bfloat16 on a CPU."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from medssl.encoders import build_encoder
from medssl.encoders.narrow import Conv3d, guard_convolutions

emulated = not torch.cpu._is_avx512_bf16_supported()


def spoil_memory():
    """Leave numbers behind that would show in whatever is read without having been written."""
    torch.full((2_000_000,), 1e36, dtype=torch.bfloat16)


@pytest.mark.skipif(emulated, reason="this processor has no bfloat16 instructions")
@pytest.mark.parametrize("shape", [(2, 8, 6, 6, 2), (2, 8, 3, 6, 1), (1, 16, 4, 4, 2)])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_a_narrow_result_is_that_of_float32(shape, kernel):
    torch.manual_seed(0)
    conv = Conv3d(shape[1], 16, kernel, stride=2, padding=kernel // 2)
    for _ in range(5):
        spoil_memory()
        x = torch.randn(shape)
        expected = F.conv3d(x, conv.weight, conv.bias, 2, kernel // 2)
        with torch.autocast("cpu", torch.bfloat16):
            found = conv(x)
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.05)


def test_anything_else_is_left_to_torch():
    torch.manual_seed(0)
    plain = nn.Conv3d(1, 4, 3, stride=2, padding=1)
    x = torch.randn(1, 1, 6, 6, 2)
    expected = plain(x)
    guard_convolutions(plain)
    assert isinstance(plain, Conv3d)
    assert torch.equal(plain(x), expected)


@pytest.mark.skipif(emulated, reason="this processor has no bfloat16 instructions")
@pytest.mark.parametrize("name", ["resenc_s", "resnet18"])
def test_a_thin_slab_gives_an_encoder_finite_features(name):
    encoder = build_encoder(name, patch=(64, 64, 16)).eval()
    for _ in range(10):
        spoil_memory()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            maps = encoder(torch.randn(2, 1, 64, 64, 16))
        assert all(m.abs().max() < 1e4 for m in maps)
