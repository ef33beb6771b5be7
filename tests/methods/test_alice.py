"""Which crops Alice compares, and that its teacher's side takes no gradient."""

import math

import pytest
import torch

from medssl.encoders import build_encoder
from medssl.methods import Alice

PLACES = 2


def build(**options):
    torch.manual_seed(0)
    encoder = build_encoder("resenc_s", patch=(8, 8, 8), features=(4, 6), blocks=(1, 1))
    method = Alice(encoder=encoder, patch=(8, 8, 8), **{**Alice.tiny(), **options})
    with torch.no_grad():
        for parameter in method.parameters():
            if parameter.requires_grad:  # the student has moved away from its teacher
                parameter.add_(0.1 * torch.randn(parameter.shape))
    return method


@pytest.fixture
def crops():
    return torch.randn(PLACES * 2, 1, 8, 8, 8, generator=torch.Generator().manual_seed(1))


def entropy(answers, scores, temperature=0.1):
    logits = [float(s) / temperature for s in scores]
    total = math.log(sum(math.exp(x) for x in logits))
    return -sum(float(a) * (x - total) for a, x in zip(answers, logits, strict=True))


def test_crops_and_aligned_places_are_compared_across_patients(crops):
    method = build()
    losses = method.loss([crops], {}, torch.Generator().manual_seed(0))
    hidden = method.mask(crops.shape, torch.Generator().manual_seed(0))
    with torch.no_grad():
        tokens = method.encoder.forward_masked(crops, hidden)[-1].flatten(2).mT
        clean = method.teacher_encoder(crops)[-1].flatten(2).mT
        raw = method.teacher_head(clean.mean(dim=1))
        taught = ((raw - raw.mean(dim=0)) / 0.04).softmax(dim=1)
        scores = method.head(tokens.mean(dim=1))
        partner = [1, 0, 3, 2]
        answers = method.align(tokens, tokens[partner])
        raw_places = method.teacher_place_head(method.align(tokens, clean[partner]).flatten(0, 1))
        taught_places = ((raw_places - raw_places.mean(dim=0)) / 0.04).softmax(dim=1)
        place_scores = method.place_head(answers.flatten(0, 1))
    crops_cost = [entropy(taught[partner[n]], scores[n]) for n in range(4)]
    assert losses["invariance"].item() == pytest.approx(sum(crops_cost) / 4, rel=1e-4)
    places_cost = [entropy(t, s) for t, s in zip(taught_places, place_scores, strict=True)]
    expected = sum(places_cost) / len(places_cost)
    assert losses["alignment"].item() == pytest.approx(expected, rel=1e-4)
    total = losses["invariance"] + losses["alignment"] + 5 * losses["reconstruction"]
    assert losses["loss"].item() == pytest.approx(total.item(), rel=1e-5)


def test_the_teachers_side_is_outside_the_graph(crops):
    """In the reference the alignment of the teacher's tokens takes gradient too."""
    gradients = []
    for fixed in (False, True):
        method = build()
        if fixed:
            hidden = method.mask(crops.shape, torch.Generator().manual_seed(0))
            asked = method.encoder.forward_masked(crops, hidden)[-1].flatten(2).mT
            answers = [answer.detach().clone() for answer in method._taught(crops, asked)]
            method._taught = lambda *_, answers=answers: answers
        losses = method.loss([crops], {}, torch.Generator().manual_seed(0))
        parameters = [*method.align.parameters(), *method.encoder.parameters()]
        gradients.append(torch.autograd.grad(losses["alignment"], parameters, allow_unused=True))
        assert all(not p.requires_grad for p in method.teacher_encoder.parameters())
    for one, other in zip(*gradients, strict=True):
        assert (one is None and other is None) or torch.allclose(one, other)


def test_one_place_is_a_crop_of_each_of_two_patients():
    assert build().places().volumes == 2


def test_users_get_the_teachers_encoder_and_centres_follow_the_step(crops):
    method = build()
    assert method.exported_encoder() is method.teacher_encoder.module
    method.loss([crops], {}, torch.Generator().manual_seed(0))
    assert method.centre.centre.abs().max() == 0
    method.after_step(1)
    assert method.centre.centre.abs().max() > 0
    assert method.place_centre.centre.abs().max() > 0
