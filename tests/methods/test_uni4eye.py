"""Uni4Eye: a slice in a 3D encoder, both kinds of batches, and the two decoders."""

import pytest
import torch
import torch.nn.functional as F

from medssl.encoders import build_encoder
from medssl.encoders.base import upsample_mask
from medssl.errors import ConfigError
from medssl.losses.reconstruction import gradient_map
from medssl.methods import Uni4Eye

PATCH = (16, 8, 12)
ENCODERS = {
    "vit_tiny": {"token": 4, "width": 24, "depth": 4, "heads": 2},
    "resenc_s": {"features": (4, 6, 8), "blocks": (1, 1, 1)},
}


def build(name="vit_tiny", **options):
    torch.manual_seed(0)
    encoder = build_encoder(name, patch=PATCH, **ENCODERS[name])
    return Uni4Eye(encoder=encoder, patch=PATCH, **{**Uni4Eye.tiny(), **options})


def generator(seed=3):
    return torch.Generator().manual_seed(seed)


def test_a_slab_is_one_slice_of_each_volume_repeated():
    method = build()
    volume = torch.randn(5, 1, *PATCH, generator=generator(1))
    slab = method.slab(volume, generator())
    assert slab.shape == (5, 1, 16, 8, 4)
    assert torch.equal(slab, slab[..., :1].expand_as(slab))
    chosen = [
        [z for z in range(12) if torch.equal(volume[n, 0, ..., z], slab[n, 0, ..., 0])]
        for n in range(5)
    ]
    assert all(len(found) == 1 for found in chosen)
    assert len({found[0] for found in chosen}) > 1


def test_a_slab_is_embedded_as_a_planar_patch_by_the_weights_summed_over_depth():
    """One space of tokens: the planar embedding is the cubic one, not one of its own."""
    method = build()
    embedding = method.encoder.patch_embedding.patch_embeddings
    slab = method.slab(torch.randn(2, 1, *PATCH, generator=generator(1)), generator())
    as_volume = F.conv3d(slab, embedding.weight, embedding.bias, stride=4)[..., 0]
    planar = embedding.weight.sum(dim=4)
    as_slice = F.conv2d(slab[..., 0], planar, embedding.bias, stride=4)
    torch.testing.assert_close(as_volume, as_slice)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("planar", [False, True])
def test_both_decoders_are_judged_over_hidden_voxels(name, planar):
    method = build(name, planar_share=float(planar), gradient_weight=0.5)
    volume = torch.randn(2, 1, *PATCH, generator=generator(1))
    replay = generator()
    torch.rand((), generator=replay)
    shown = method.slab(volume, replay) if planar else volume
    hidden = (method.squares if planar else method.cubes)(shown.shape, replay)
    assert hidden.shape[1:] == ((4, 2, 1) if planar else (4, 2, 3))
    maps = method.encoder.forward_masked(shown, hidden)
    voxels = upsample_mask(hidden, tuple(shown.shape[2:]))
    targets = {"image": shown, "gradient": gradient_map(shown)}
    decoders = {"image": method.image_decoder, "gradient": method.gradient_decoder}
    losses = method.loss([volume], {}, generator())
    total = 0.0
    for part, weight in (("image", 1.0), ("gradient", 0.5)):
        rebuilt = decoders[part](maps, hidden, tuple(shown.shape[2:]))
        expected = (rebuilt - targets[part]).double()[voxels].square().mean().item()
        assert losses[part].item() == pytest.approx(expected, rel=1e-4)
        total += weight * expected
    assert losses["loss"].item() == pytest.approx(total, rel=1e-4)


def test_batches_alternate_between_slices_and_volumes():
    method = build()
    seen = []
    method.encoder.forward_masked = lambda x, hidden, real=method.encoder.forward_masked: (
        seen.append(x.shape[-1]) or real(x, hidden)
    )
    volume = torch.randn(1, 1, *PATCH, generator=generator(1))
    for seed in range(30):
        method.loss([volume], {}, generator(seed))
    assert 8 <= seen.count(4) <= 22
    assert seen.count(4) + seen.count(12) == 30


def test_a_slice_has_no_edge_across():
    method = build()
    slab = method.slab(torch.randn(1, 1, *PATCH, generator=generator(1)), generator())
    planar = gradient_map(slab[..., 0])
    torch.testing.assert_close(gradient_map(slab), planar.unsqueeze(-1).expand_as(slab))


def test_a_planar_encoder_is_refused():
    encoder = build_encoder(
        "resenc_s", spatial_dims=2, patch=(16, 16), features=(4, 6), blocks=(1, 1)
    )
    with pytest.raises(ConfigError, match="spatial_dims to 3"):
        Uni4Eye(encoder=encoder, patch=(16, 16))
