"""Models Genesis' encoder against its published definition, written out here."""

import pytest
import torch
import torch.nn.functional as F

from medssl.encoders import build_encoder
from medssl.encoders.checkpointing import checkpoint_blocks

STAGES = ("down_tr64", "down_tr128", "down_tr256", "down_tr512")


def vary(encoder):
    torch.manual_seed(1)
    for key, value in encoder.state_dict().items():
        if value.ndim == 1:
            value.copy_(1 + 0.3 * torch.randn_like(value).clamp(-3, 3))
        assert key.startswith(STAGES)
    return encoder.eval()


def reference(weights, x, *, batch):
    """Return the four maps of the published network, in double precision."""
    w = {key: value.double() for key, value in weights.items()}
    x, maps = x.double(), []
    for name in STAGES:
        if maps:
            x = F.max_pool3d(x, 2)
        for i in range(2):
            at = f"{name}.ops.{i}"
            x = F.conv3d(x, w[f"{at}.conv1.weight"], w[f"{at}.conv1.bias"], padding=1)
            mean, var = w[f"{at}.bn1.running_mean"], w[f"{at}.bn1.running_var"]
            if batch:
                mean, var = x.mean((0, 2, 3, 4)), x.var((0, 2, 3, 4), correction=0)
            scale = w[f"{at}.bn1.weight"] / (var + 1e-5).sqrt()
            shape = (1, -1, 1, 1, 1)
            x = (x - mean.view(shape)) * scale.view(shape) + w[f"{at}.bn1.bias"].view(shape)
            x = x.clamp(min=0)
        maps.append(x)
    return [features.float() for features in maps]


@torch.no_grad()
@pytest.mark.parametrize("statistics", ["batch", "running"])
def test_features_are_those_of_the_published_network(statistics):
    encoder = vary(build_encoder("unet_genesis", width=16, statistics=statistics))
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    x = torch.rand(2, 1, 16, 24, 16)
    expected = reference(before, x, batch=statistics == "batch")
    for ours, theirs in zip(encoder(x), expected, strict=True):
        assert (ours - theirs).norm() < 1e-5 * theirs.norm()
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


@torch.no_grad()
def test_running_statistics_give_other_features_and_the_batch_ones_see_the_batch():
    published = vary(build_encoder("unet_genesis", width=8))
    usual = build_encoder("unet_genesis", width=8, statistics="running").eval()
    usual.load_state_dict(published.state_dict(), strict=True)
    x = torch.rand(2, 1, 16, 16, 16)
    x[1] *= 3
    a, b = published(x)[-1], usual(x)[-1]
    assert (a - b).norm() > 0.1 * a.norm()
    assert not torch.allclose(published(x[:1])[-1], a[:1], rtol=0.1)
    torch.testing.assert_close(usual(x[:1])[-1], b[:1], rtol=1e-4, atol=1e-5)


def test_statistics_move_in_training():
    encoder = build_encoder("unet_genesis", width=4).train()
    encoder(torch.rand(2, 1, 16, 16, 16))
    assert encoder.down_tr512.ops[1].bn1.num_batches_tracked == 1
    assert encoder.down_tr512.ops[1].bn1.running_mean.any()


def test_names_and_sizes_are_the_published_ones():
    with torch.device("meta"):
        encoder = build_encoder("unet_genesis")
    shapes = {key: tuple(value.shape) for key, value in encoder.state_dict().items()}
    assert len(shapes) == 4 * 2 * 7
    widths = [(1, 32, 64), (64, 64, 128), (128, 128, 256), (256, 256, 512)]
    for name, (seen, half, wide) in zip(STAGES, widths, strict=True):
        assert shapes[f"{name}.ops.0.conv1.weight"] == (half, seen, 3, 3, 3)
        assert shapes[f"{name}.ops.1.conv1.weight"] == (wide, half, 3, 3, 3)
        assert shapes[f"{name}.ops.1.bn1.running_var"] == (wide,)
    assert encoder.channels == (64, 128, 256, 512)


@torch.no_grad()
def test_a_single_voxel_is_normed_by_what_training_kept():
    encoder = build_encoder("unet_genesis", width=4).eval()
    assert encoder(torch.rand(1, 1, 8, 8, 8))[-1].isfinite().all()


def test_its_stages_are_found_for_checkpointing():
    assert checkpoint_blocks(build_encoder("unet_genesis", width=4)) == 4
