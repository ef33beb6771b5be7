"""PCRLv2's sum of terms against loops in float64, and the two faults of its port."""

import pytest
import torch
import torch.nn.functional as F

from medssl.encoders import build_encoder
from medssl.errors import ConfigError
from medssl.methods import PCRLv2

PATCH, SMALL, PLACES, LOCALS = (16, 16, 8), (8, 8, 8), 3, 4


def build(**options):
    torch.manual_seed(0)
    encoder = build_encoder("resenc_s", patch=PATCH, features=(4, 6, 8), blocks=(1, 1, 1))
    options = {"local_views": LOCALS, "local_size": SMALL, "width": 4, **options}
    return PCRLv2(encoder=encoder, patch=PATCH, **options)


def views(seed=1):
    generator = torch.Generator().manual_seed(seed)
    large = [torch.randn(PLACES, 1, *PATCH, generator=generator) for _ in range(2)]
    return large + [torch.randn(PLACES, 1, *SMALL, generator=generator) for _ in range(LOCALS)]


def cosine(a, b):
    return float(a.double() @ b.double() / (a.double().norm() * b.double().norm()))


def naive_similarity(first, second):
    """The card's S, one place and one depth after the other, plus 1."""
    found = [
        1 - (cosine(post_u[n], pre_v[n]) + cosine(post_v[n], pre_u[n])) / 2
        for (pre_u, post_u), (pre_v, post_v) in zip(first, second, strict=True)
        for n in range(PLACES)
    ]
    return sum(found) / len(found)


def embed(method, depths):
    pooled = [depth.mean(dim=(2, 3, 4)) for depth in depths]
    normed = [norm(each) for norm, each in zip(method.norms, pooled, strict=True)]
    return [(a, predict(a)) for a, predict in zip(normed, method.predictors, strict=True)]


@torch.no_grad()
def test_every_small_view_is_compared_with_both_large_ones():
    """The defect: the port takes the first small view of each place for all of them."""
    method = build()
    whole, other, *small = views()
    losses = method.loss([whole, other, *small], {}, torch.Generator().manual_seed(2))
    damaged = method.corruption(whole, torch.Generator().manual_seed(2))
    features = method.decoder(method.encoder(torch.cat([damaged, other])), PATCH, None)
    large = embed(method, features[1:])
    sides = [
        [(a[part], b[part]) for a, b in large] for part in (slice(PLACES), slice(PLACES, None))
    ]
    together = embed(method, method.decoder(method.encoder(torch.cat(small)), SMALL, None)[1:])
    parts = [
        [(a[n * PLACES : (n + 1) * PLACES], b[n * PLACES : (n + 1) * PLACES]) for a, b in together]
        for n in range(LOCALS)
    ]
    each = [sum(naive_similarity(side, part) for side in sides) / 2 for part in parts]
    assert losses["local"].item() == pytest.approx(sum(each) / LOCALS, rel=1e-3)
    assert losses["global"].item() == pytest.approx(naive_similarity(*sides), rel=1e-3)
    repeated = sum(each[:1] * LOCALS) / LOCALS
    assert abs(losses["local"].item() - repeated) > 1e-3


@torch.no_grad()
def test_restorations_are_mean_squares_at_every_depth():
    method = build()
    whole, other, *small = views()
    losses = method.loss([whole, other, *small], {}, torch.Generator().manual_seed(2))
    damaged = method.corruption(whole, torch.Generator().manual_seed(2))
    features = method.decoder(method.encoder(torch.cat([damaged, other])), PATCH, None)
    error = (method.restore(features[0][:PLACES]) - whole).double().square().mean()
    assert losses["restoration"].item() == pytest.approx(error.item(), rel=1e-4)
    errors = []
    for head, depth in zip(method.restore_coarse, features[1:], strict=True):
        rebuilt = F.interpolate(head(depth[:PLACES]), PATCH, mode="trilinear")
        errors.append((rebuilt - whole).double().square().mean().item())
    assert losses["coarse"].item() == pytest.approx(sum(errors) / len(errors), rel=1e-4)


@pytest.mark.parametrize(("progress", "weight"), [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)])
def test_the_weight_of_coarse_restorations_falls_over_the_run(monkeypatch, progress, weight):
    """The defect: the port adds them with weight 1, or not at all, and never changes it."""
    method = build()
    monkeypatch.setattr(PCRLv2, "progress", property(lambda _: progress))
    losses = method.loss(views(), {}, torch.Generator().manual_seed(2))
    rest = losses["restoration"] + losses["global"] + losses["local"]
    expected = rest + weight * losses["coarse"]
    assert losses["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_no_gradient_goes_through_what_is_predicted():
    method = build()
    whole, other, *small = views()
    other.requires_grad_()
    with torch.no_grad():
        for predictor in method.predictors:
            for parameter in predictor.parameters():
                parameter.zero_()  # predictions are all alike, targets alone could learn
    losses = method.loss([whole, other, *small], {}, torch.Generator().manual_seed(2))
    (gradient,) = torch.autograd.grad(losses["global"] + losses["local"], other, allow_unused=True)
    assert gradient is None or gradient.abs().max() == 0


def test_small_views_come_from_both_crops_in_turn_and_nothing_is_mirrored():
    recipe = build().views()
    assert [tuple(view.crops) for view in recipe.views] == [(0,), (1,), (0,), (1,), (0,), (1,)]
    ramp = torch.linspace(-1, 1, 16).view(1, 1, 1, 16, 1, 1).expand(1, 2, 1, *PATCH).contiguous()
    for seed in range(5):
        for view in recipe(ramp, torch.Generator().manual_seed(seed)):
            profile = view.mean(dim=(1, 3, 4))
            assert (profile[:, -1] > profile[:, 0]).all()


def test_it_needs_a_small_view():
    with pytest.raises(ConfigError, match="needs 1 or more"):
        build(local_views=0)
