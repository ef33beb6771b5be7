"""Which slices the global losses draw together and push apart, for any number of levels."""

import math

import pytest
import torch

from medssl.encoders import build_encoder
from medssl.errors import ConfigError
from medssl.methods import SlicePosition

LEVELS = 3


def build(**options):
    torch.manual_seed(0)
    encoder = build_encoder(
        "resenc_s", spatial_dims=2, patch=(16, 16), features=(4, 6), blocks=(1, 1)
    )
    options = {"width": 8, "region": 2, "partitions": LEVELS, "local_loss": "none", **options}
    return SlicePosition(encoder=encoder, patch=(16, 16), **options)


@pytest.fixture
def batch():
    """Three versions of three slices of two volumes; two slices of the second share a level."""
    generator = torch.Generator().manual_seed(1)
    views = [torch.randn(2 * LEVELS, 1, 16, 16, generator=generator) for _ in range(3)]
    return views, {"partition": torch.tensor([[0, 1, 2], [0, 1, 1]])}


def naive(method, views, levels, kind):
    """The card's sets, one pair after the other; ``levels`` decide what lies at one level."""
    with torch.no_grad():
        z = [method.head(method.encoder.embed(view)).double() for view in views]
    every = [(s, v) for s in range(2 * LEVELS) for v in range(3)]

    def score(a, b):
        one, two = z[a[1]][a[0]], z[b[1]][b[0]]
        return math.exp(float(one @ two / (one.norm() * two.norm())) / 0.1)

    costs = []
    for a in every:
        same_slice = [b for b in every if b[0] == a[0]]
        same_level = [b for b in every if levels[b[0]] == levels[a[0]]]
        spared = same_slice if kind == "random" else same_level
        below = sum(score(a, b) for b in every if b not in spared)
        positives = [b for b in same_slice if b != a]
        if kind == "matched":
            positives += [
                b for b in same_level if b[0] // LEVELS != a[0] // LEVELS and b[1] == a[1]
            ]
        costs += [-math.log(score(a, b) / (score(a, b) + below)) for b in positives]
    return sum(costs) / len(costs)


@pytest.mark.parametrize("kind", ["random", "apart", "matched"])
def test_global_losses_agree_with_a_loop(batch, kind):
    views, targets = batch
    method = build(global_loss=kind)
    losses = method.loss(views, targets, torch.Generator())
    levels = targets["partition"].flatten().tolist()
    assert losses["global"].item() == pytest.approx(naive(method, views, levels, kind), rel=1e-4)
    assert losses["loss"].item() == losses["global"].item()


def test_a_fixed_stride_of_four_would_spare_the_wrong_slices(batch):
    """The reference excludes every fourth slice of the batch, whatever levels there are."""
    views, targets = batch
    method = build(global_loss="apart")
    loss = method.loss(views, targets, torch.Generator())["global"].item()
    by_stride = naive(method, views, [n % 4 for n in range(2 * LEVELS)], "apart")
    assert loss != pytest.approx(by_stride, rel=1e-2)


def test_regions_of_the_uncropped_versions_are_compared(batch):
    views, targets = batch
    method = build(local_loss="random")
    first = method.loss(views, targets, torch.Generator().manual_seed(0))["local"]
    changed = [views[0], torch.zeros_like(views[1]), views[2]]
    assert torch.equal(
        method.loss(changed, targets, torch.Generator().manual_seed(0))["local"], first
    )
    view = method.views().views[2]
    frames = view.frames(
        (2, LEVELS, 1, 16, 16), view.draw((2, LEVELS, 1, 16, 16), torch.Generator())
    )
    assert torch.equal(frames, torch.eye(2, 3).expand_as(frames))


@pytest.mark.parametrize(("kind", "couples"), [("random", False), ("matched", True)])
def test_matched_regions_see_other_volumes(batch, kind, couples):
    views, targets = batch
    views = [view.requires_grad_() for view in views]
    losses = []
    for other in (0.0, 1.0):  # the level of a slice of the other volume
        changed = {"partition": targets["partition"].clone()}
        changed["partition"][1, 0] = int(other) * 2
        method = build(local_loss=kind, global_loss="none")
        losses.append(method.loss(views, changed, torch.Generator().manual_seed(0))["local"].item())
    assert (losses[0] != losses[1]) == couples


def test_volumes_are_refused():
    encoder = build_encoder("resenc_s", patch=(16, 16, 16), features=(4, 6), blocks=(1, 1))
    with pytest.raises(ConfigError, match="two numbers"):
        SlicePosition(encoder=encoder, patch=(16, 16, 16))


def test_nothing_to_compare_and_too_few_regions_are_refused():
    with pytest.raises(ConfigError, match="at least one loss"):
        build(global_loss="none")
    with pytest.raises(ConfigError, match="regions"):
        build(local_loss="random", region=9)
