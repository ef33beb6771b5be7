"""VolumeFusion: whose volumes are fused, and the loss against a loop in float64."""

import numpy as np
import pytest
import torch

from medssl.encoders import build_encoder
from medssl.methods import VolumeFusion
from medssl.sampling.facts import VolumeFacts
from medssl.sampling.partners import JointSampler
from medssl.sampling.strangers import Strangers

PATCH = (8, 12, 8)


def build(**options):
    torch.manual_seed(0)
    encoder = build_encoder("resenc_s", patch=PATCH, features=(4, 6), blocks=(1, 1))
    return VolumeFusion(encoder=encoder, patch=PATCH, **options)


def generator(seed=3):
    return torch.Generator().manual_seed(seed)


def test_loss_is_dice_over_all_classes_and_cross_entropy():
    method = build(levels=2, boxes=(3, 6))
    front, back = (torch.randn(2, 1, *PATCH, generator=generator(seed)) for seed in (1, 2))
    classes = method.fusion(front.shape, generator())
    alpha = (classes / 2).unsqueeze(1)
    fused = alpha * front + (1 - alpha) * back
    chance = method.decoder(method.encoder(fused), fused)[0].double().softmax(dim=1)
    dice, entropy = [], []
    for n in range(2):
        for k in range(3):
            truth = (classes[n] == k).double()
            both = (chance[n, k] * truth).sum()
            dice.append((2 * both + 1e-5) / (chance[n, k].sum() + truth.sum() + 1e-5))
        entropy.append(-chance[n].gather(0, classes[n][None]).log().mean())
    expected = 1 - sum(dice) / len(dice) + sum(entropy) / len(entropy)
    loss = method.loss([front, back], {}, generator())["loss"]
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_two_volumes_are_of_two_patients_and_places():
    method = build()
    sampler = method.places()
    assert isinstance(sampler, JointSampler)
    assert isinstance(sampler, Strangers)
    facts = VolumeFacts((40, 40, 40), (1.0,) * 3, np.ones((5, 5, 5), bool), (8,) * 3, volume=0)
    places = sampler.places([facts, facts], PATCH, np.random.default_rng(0))
    assert len(places) == 2
    assert places[0].region.start != places[1].region.start


def test_encoder_and_decoder_learn_together():
    method = build(boxes=(4, 8))
    front, back = (torch.randn(1, 1, *PATCH, generator=generator(seed)) for seed in (1, 2))
    method.loss([front, back], {}, generator())["loss"].backward()
    for part in (method.encoder, method.decoder):
        assert all(p.grad.abs().sum() > 0 for p in part.parameters() if p.ndim > 1)
