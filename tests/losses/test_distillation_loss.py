"""Distillation losses against loops in float64."""

import math

import pytest
import torch

from medssl.losses.assignment import sinkhorn
from medssl.losses.distillation import (
    cluster_distillation,
    koleo,
    masked_distillation,
    view_distillation,
)
from medssl.losses.latent import latent_loss, variance_hinge


def entropy(target, scores, temperature):
    powers = [math.exp(s / temperature) for s in scores]
    return -sum(t * math.log(p / sum(powers)) for t, p in zip(target, powers, strict=True) if t > 0)


def test_views_are_asked_for_every_answer_but_their_own():
    scores = torch.randn(5, 3, 7)
    targets = torch.randn(2, 3, 7).softmax(dim=-1)
    costs = [
        entropy(targets[t, b].tolist(), scores[s, b].tolist(), 0.2)
        for s in range(5) for t in range(2) for b in range(3) if s != t
    ]  # fmt: skip
    loss = view_distillation(scores, targets, temperature=0.2)
    assert loss.item() == pytest.approx(sum(costs) / len(costs), rel=1e-5)


def test_a_single_view_is_refused():
    with pytest.raises(ValueError, match="no pair"):
        view_distillation(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3))


def test_hidden_places_count_alike_within_an_image_and_images_alike():
    hidden = torch.tensor([[True, False, True], [False, False, False], [False, True, False]])
    scores = torch.randn(3, 5)
    targets = torch.randn(3, 5).softmax(dim=-1)
    first, second, third = (
        entropy(t, s, 0.1) for t, s in zip(targets.tolist(), scores.tolist(), strict=True)
    )
    expected = ((first + second) / 2 + 0 + third) / 3
    loss = masked_distillation(scores, targets, hidden)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    none = masked_distillation(scores[:0], targets[:0], torch.zeros_like(hidden))
    assert none.item() == 0


def test_koleo_is_the_mean_logarithm_of_the_distance_to_the_nearest():
    vectors = torch.randn(6, 4, requires_grad=True)
    unit = [v / v.norm() for v in vectors.detach().double()]
    nearest = [
        min(float((a - b).norm()) for j, b in enumerate(unit) if j != i) for i, a in enumerate(unit)
    ]
    loss = koleo(vectors)
    assert loss.item() == pytest.approx(-sum(map(math.log, nearest)) / 6, rel=1e-4)
    (step,) = torch.autograd.grad(loss, vectors)
    assert koleo(vectors - 0.01 * step) < loss


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_koleo_of_equal_vectors_is_finite_and_so_is_its_gradient(value):
    vectors = torch.full((4, 8), value, requires_grad=True)
    koleo(vectors).backward()
    assert torch.isfinite(vectors.grad).all()
    assert koleo(vectors[:1]).item() == 0


def test_clusters_are_told_softly_and_both_sides_teach_them():
    """The reference swaps the largest entry alone; a soft assignment gives another loss."""
    first, second = torch.randn(12, 4), torch.randn(12, 4)
    clusters = torch.randn(3, 4, requires_grad=True)
    unit = [torch.nn.functional.normalize(x.double(), dim=1) for x in (first, second, clusters)]
    scores = [unit[0] @ unit[2].T, unit[1] @ unit[2].T]
    codes = [sinkhorn(each, epsilon=0.05, iterations=10) for each in scores]

    def swapped(codes):
        costs = [
            entropy(codes[1 - side][row].tolist(), scores[side][row].tolist(), 0.1)
            for side in range(2) for row in range(12)
        ]  # fmt: skip
        return sum(costs) / len(costs)

    hard = [torch.nn.functional.one_hot(code.argmax(dim=1), 3) for code in codes]
    loss = cluster_distillation(first, second, clusters)
    assert loss.item() == pytest.approx(swapped(codes), rel=1e-3)
    assert loss.item() != pytest.approx(swapped(hard), rel=1e-3)
    loss.backward()
    assert clusters.grad.abs().max() > 0


@pytest.mark.parametrize("distance", ["square", "smooth"])
def test_latent_loss_compares_with_standardised_features(distance):
    predicted, target = torch.randn(3, 5, 8), 3 * torch.randn(3, 5, 8) + 2
    costs = []
    for guess, truth in zip(
        predicted.double().view(-1, 8), target.double().view(-1, 8), strict=True
    ):
        spread = math.sqrt(float(truth.var(unbiased=False)) + 1e-5)
        for a, b in zip(guess.tolist(), ((truth - truth.mean()) / spread).tolist(), strict=True):
            error = abs(a - b)
            linear = distance == "smooth" and error >= 1
            costs.append(error - 0.5 if linear else error**2 * (0.5 if distance == "smooth" else 1))
    loss = latent_loss(predicted, target, distance=distance)
    assert loss.item() == pytest.approx(sum(costs) / len(costs), rel=1e-5)


def test_variance_hinge_is_zero_once_features_vary_and_one_where_they_are_alike():
    assert variance_hinge(10 * torch.randn(2, 64, 4)).item() == 0
    assert variance_hinge(torch.ones(2, 6, 4)).item() == pytest.approx(0.99)
