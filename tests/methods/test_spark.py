"""SparK's loss against a loop over cells, and what it refuses."""

import pytest
import torch

from medssl.encoders import build_encoder
from medssl.errors import ConfigError
from medssl.methods import SparK

PATCH = (16, 8, 24)


def build(name="resenc_s", **options):
    torch.manual_seed(0)
    encoder = build_encoder(name, patch=PATCH, features=(4, 6, 8), blocks=(1, 1, 1))
    return SparK(encoder=encoder, patch=PATCH, mask_size=4, **options)


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("densify", ["efficient", "full"])
def test_the_loss_is_the_mean_over_hidden_cells(densify, normalise):
    method = build(densify=densify, normalise_targets=normalise)
    volume = torch.randn(2, 1, *PATCH)
    rebuilt, _, _ = method.rebuild(volume, torch.Generator().manual_seed(3))
    hidden = method.mask(volume.shape, torch.Generator().manual_seed(3))
    errors = []
    for sample, x, y, z in hidden.nonzero().tolist():
        box = (sample, 0, *(slice(4 * n, 4 * n + 4) for n in (x, y, z)))
        target = volume[box].double()
        if normalise:
            target = (target - target.mean()) / (target.var() + 1e-6).sqrt()
        errors.append((rebuilt[box].double() - target).square().mean())
    loss = method.loss([volume], {}, torch.Generator().manual_seed(3))["loss"]
    assert loss.item() == pytest.approx(torch.stack(errors).mean().item(), rel=1e-4)


def test_samples_of_a_batch_do_not_see_each_other():
    method = build()
    volume = torch.randn(4, 1, *PATCH)
    one = method.mask((1, 1, *PATCH), torch.Generator().manual_seed(0))
    method.mask = lambda shape, generator: one.expand(shape[0], *one.shape[1:])
    generator = torch.Generator()
    whole = method.loss([volume], {}, generator)["loss"]
    halves = [method.loss([part], {}, generator)["loss"] for part in volume.split(2)]
    turned = method.loss([volume.flip(0)], {}, generator)["loss"]
    torch.testing.assert_close(whole, sum(halves) / 2, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(whole, turned, rtol=1e-5, atol=1e-6)


def test_the_same_weights_are_a_plain_dense_encoder():
    method = build()
    twin = build_encoder("resenc_s", patch=PATCH, features=(4, 6, 8), blocks=(1, 1, 1))
    twin.load_state_dict(method.exported_encoder().state_dict(), strict=True)
    volume = torch.randn(1, 1, *PATCH)
    for ours, theirs in zip(method.exported_encoder()(volume), twin(volume), strict=True):
        assert torch.equal(ours, theirs)


def test_a_transformer_is_pointed_to_mae():
    encoder = build_encoder("vit_tiny", patch=PATCH, token=4, width=24, depth=4, heads=2)
    with pytest.raises(ConfigError, match=r'"vit_tiny" drops hidden tokens.*method "mae"'):
        SparK(encoder=encoder, patch=PATCH, mask_size=4)


def test_cells_finer_than_the_finest_map_are_refused():
    encoder = build_encoder("resnet18", patch=PATCH, widen=0.125, stem_stride=2)
    with pytest.raises(ConfigError, match="use larger cells"):
        SparK(encoder=encoder, patch=PATCH, mask_size=1)
