"""MixedAE: how images are mixed, what each source is rebuilt from, and what is refused."""

import pytest
import torch

from medssl.encoders import build_encoder
from medssl.errors import ConfigError
from medssl.methods import MixedAE
from medssl.parts.group_masks import share_cells

PATCH = (16, 8, 12)
ENCODERS = {
    "vit_tiny": {"token": 4, "width": 24, "depth": 4, "heads": 2},
    "resenc_s": {"features": (4, 6, 8), "blocks": (1, 1, 1)},
}


def build(name="vit_tiny", **options):
    torch.manual_seed(0)
    encoder = build_encoder(name, patch=PATCH, **ENCODERS[name])
    return MixedAE(encoder=encoder, patch=PATCH, **{**MixedAE.tiny(), **options})


def generator(seed=3):
    return torch.Generator().manual_seed(seed)


def test_a_mix_shows_each_source_in_its_cells():
    method = build(sources=3)
    volume = torch.randn(6, 1, *PATCH, generator=generator(1))
    owner = share_cells(2, method.grid, 3, generator())
    mixed = method.mix(volume, owner)
    for b, x, y, z in torch.cartesian_prod(*map(torch.arange, owner.shape)).tolist():
        box = tuple(slice(4 * c, 4 * c + 4) for c in (x, y, z))
        source = 3 * b + owner[b, x, y, z].item()
        assert torch.equal(mixed[(b, 0, *box)], volume[(source, 0, *box)])


@pytest.mark.parametrize("name", ENCODERS)
def test_what_a_source_did_not_show_does_not_reach_its_answer(name):
    method = build(name)
    volume = torch.randn(2, 1, *PATCH, generator=generator(1)).requires_grad_()
    owner = share_cells(1, method.grid, 2, generator())
    _, rebuilt = method._unmix(method.encoder(method.mix(volume, owner)), owner)
    (gradient,) = torch.autograd.grad(rebuilt[0].sum(), volume)
    unseen = (owner[0] != 0).repeat_interleave(4, 0).repeat_interleave(4, 1).repeat_interleave(4, 2)
    assert gradient[0, 0][unseen].abs().max() == 0
    assert gradient[0, 0][~unseen].abs().max() > 0


@pytest.mark.parametrize("name", ENCODERS)
def test_rebuilding_is_judged_where_the_source_was_not_shown(name):
    method = build(name)
    volume = torch.randn(4, 1, *PATCH, generator=generator(1))
    owner = share_cells(2, method.grid, 2, generator())
    hidden, rebuilt = method._unmix(method.encoder(method.mix(volume, owner)), owner)
    errors = []
    for place, x, y, z in torch.cartesian_prod(*map(torch.arange, hidden.shape)).tolist():
        if owner[place // 2, x, y, z].item() != place % 2:
            box = (place, 0, *(slice(4 * c, 4 * c + 4) for c in (x, y, z)))
            errors.append((rebuilt[box] - volume[box]).double().square().mean())
    assert len(errors) == hidden.sum() == hidden.numel() // 2
    losses = method.loss([volume], {}, generator())
    assert losses["rebuilt"].item() == pytest.approx(torch.stack(errors).mean().item(), rel=1e-4)
    total = losses["rebuilt"] + 0.1 * losses["homology"]
    assert losses["loss"].item() == pytest.approx(total.item())


def test_cells_finer_than_the_coarsest_map_are_refused():
    with pytest.raises(ConfigError, match="one feature would see several sources"):
        build("resenc_s", mask_size=2)


def test_cells_that_can_not_be_shared_are_refused_when_built():
    with pytest.raises(ConfigError, match="can't be shared equally among 5"):
        build(sources=5)


def test_many_tokens_are_thinned_out(monkeypatch):
    monkeypatch.setattr("medssl.methods.mixed_ae.MOST_TOKENS", 10)
    method = build()
    seen = []
    method.head.register_forward_hook(lambda module, given, answer: seen.append(len(answer)))
    method.loss([torch.randn(4, 1, *PATCH)], {}, generator())
    assert seen == [20]
