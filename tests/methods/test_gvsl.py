"""What GVSL adds up, and which patient is laid over which."""

import pytest
import torch

from medssl.encoders import build_encoder
from medssl.losses.registration import correlation_loss, roughness
from medssl.methods import GVSL

PATCH = (8, 12, 16)


def build(**options):
    torch.manual_seed(0)
    encoder = build_encoder("resenc_s", patch=PATCH, features=(4, 6), blocks=(1, 1))
    return GVSL(encoder=encoder, patch=PATCH, width=4, pose_width=16, **options)


def views():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2, 1, *PATCH, generator=generator) for _ in range(2)]


def test_the_loss_is_the_weighted_sum_of_three():
    method = build(restoration_weight=2.0, smoothness=3.0, window=5)
    fixed, moving = views()
    losses = method.loss([fixed, moving], {}, torch.Generator().manual_seed(2))
    damaged = method.corruption(fixed, torch.Generator().manual_seed(2))
    assert not torch.equal(damaged, fixed)
    repaired, moved, shifts = method.register(damaged, moving)
    expected = (
        correlation_loss(moved, fixed, window=5)
        + 2.0 * (repaired - fixed).square().mean()
        + 3.0 * roughness(shifts)
    )
    assert losses["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_fresh_network_moves_next_to_nothing():
    fixed, moving = views()
    _, moved, shifts = build().register(fixed, moving)
    assert shifts.abs().max() < 0.1
    assert (moved - moving).abs().mean() < 0.1


def test_the_two_crops_come_from_two_patients():
    places = build().places()
    assert places.volumes == 2
    assert places.same_modality
