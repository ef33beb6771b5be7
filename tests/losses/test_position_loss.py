import math

import pytest
import torch

from medssl.errors import ConfigError
from medssl.losses.position import (
    inter_volume_loss,
    position_accuracy,
    position_loss,
    position_terms,
    predicted_overlap,
    regularisation,
)


def embeddings(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def overlaps(batch, crops, bases, seed=0):
    """Each crop meets a few bases; what it meets sums to at most 1."""
    generator = torch.Generator().manual_seed(seed)
    shares = torch.rand(batch, crops, bases, generator=generator)
    met = torch.rand(batch, crops, bases, generator=generator) < 0.4
    shares = shares * met
    return shares / shares.sum(-1, keepdim=True).clamp(min=1.0)


def naive_cosine(a, b):
    a, b = a.double().tolist(), b.double().tolist()
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def naive_position(overlap, predicted, negative):
    per_crop = []
    for y_row, l_row in zip(overlap.double().tolist(), predicted.double().tolist(), strict=True):
        pairs = list(zip(y_row, l_row, strict=True))
        met = [-y * math.log(1 - abs(y - p) + 1e-6) for y, p in pairs]
        positive = sum(met) / max(sum(y_row), 1e-6)
        costs = [
            p**2 if negative == "square" else -math.log(1 - p + 1e-6) for y, p in pairs if y == 0
        ]
        per_crop.append(positive + sum(costs) / max(len(costs), 1))
    return sum(per_crop) / len(per_crop)


def test_predicted_overlap_is_the_positive_part_of_the_cosine():
    crops, bases = embeddings(2, 3, 8), embeddings(2, 5, 8, seed=1)
    predicted = predicted_overlap(crops, bases)
    for b in range(2):
        for k in range(3):
            for n in range(5):
                expected = max(0.0, naive_cosine(crops[b, k], bases[b, n]))
                assert float(predicted[b, k, n]) == pytest.approx(expected, abs=1e-6)


def test_predicted_overlap_is_float32_under_autocast():
    crops, bases = embeddings(1, 3, 64), embeddings(1, 5, 64, seed=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = predicted_overlap(crops, bases)
    assert torch.equal(low, predicted_overlap(crops, bases))


@pytest.mark.parametrize("negative", ["square", "log"])
def test_position_agrees_with_a_loop(negative):
    overlap = overlaps(2, 4, 9)
    predicted = predicted_overlap(embeddings(2, 4, 8), embeddings(2, 9, 8, seed=1))
    loss = position_loss(overlap, predicted, negative=negative)
    expected = sum(naive_position(overlap[b], predicted[b], negative) for b in range(2)) / 2
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("negative", ["square", "log"])
def test_the_right_answer_costs_nothing_and_wrong_ones_more(negative):
    overlap = overlaps(2, 4, 9)
    right = position_loss(overlap, overlap, negative=negative)
    assert float(right) == pytest.approx(0, abs=2e-6)
    shuffled = position_loss(overlap, overlap.roll(1, dims=2), negative=negative)
    assert shuffled > 0.05


def test_terms_tell_missed_positives_from_false_ones():
    overlap = torch.tensor([[[1.0, 0.0, 0.0]]])
    met, not_met = position_terms(overlap, torch.tensor([[[0.2, 0.0, 0.0]]]))
    assert met > 1
    assert not_met == 0
    met, not_met = position_terms(overlap, torch.tensor([[[1.0, 0.6, 0.0]]]))
    assert abs(float(met)) < 1e-5
    assert float(not_met) == pytest.approx(0.18)


@pytest.mark.parametrize("negative", ["square", "log"])
def test_the_worst_answer_and_a_crop_beside_the_grid_stay_finite(negative):
    overlap = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    predicted = torch.tensor([[[0.0, 1.0], [1.0, 1.0]]], requires_grad=True)
    loss = position_loss(overlap, predicted, negative=negative)
    loss.backward()
    assert loss.isfinite()
    assert predicted.grad.isfinite().all()


def test_unknown_negatives_are_refused():
    with pytest.raises(ConfigError, match='"square" or "log"'):
        position_loss(torch.zeros(1, 1, 2), torch.zeros(1, 1, 2), negative="cube")


def test_overlaps_and_predictions_must_agree_in_shape():
    with pytest.raises(ValueError, match="must agree in shape"):
        position_loss(torch.zeros(1, 1, 2), torch.zeros(1, 1, 3))


@pytest.mark.parametrize("power", [1, 2])
def test_regularisation_agrees_with_a_loop(power):
    bases = embeddings(2, 5, 8)
    total = 0.0
    for b in range(2):
        pairs = [
            max(0.0, naive_cosine(bases[b, i], bases[b, j])) ** power
            for i in range(5)
            for j in range(i + 1, 5)
        ]
        total += 2 * sum(pairs) / (5 * 4) / 2
    assert float(regularisation(bases, power=power)) == pytest.approx(total, rel=1e-5)


def test_regularisation_moves_the_first_of_each_pair_only():
    bases = (embeddings(1, 4, 8).abs()).requires_grad_()
    regularisation(bases).backward()
    moved = bases.grad[0].abs().sum(dim=1)
    assert (moved[:-1] > 0).all()
    assert moved[-1] == 0


def test_regularisation_needs_two_bases_and_a_known_power():
    with pytest.raises(ConfigError, match="at least 2"):
        regularisation(embeddings(1, 1, 8))
    with pytest.raises(ConfigError, match="1 or 2"):
        regularisation(embeddings(1, 3, 8), power=3)


@pytest.mark.parametrize("pairs", ["all", "next"])
def test_the_loss_between_volumes_agrees_with_a_loop(pairs):
    crops, bases = embeddings(3, 2, 8), embeddings(3, 4, 8, seed=1)
    teacher_crops, teacher_bases = embeddings(3, 2, 8, seed=2), embeddings(3, 4, 8, seed=3)
    wanted = [
        (i, j)
        for i in range(3)
        for j in range(3)
        if i != j and (pairs == "all" or j == (i + 1) % 3)
    ]
    expected = sum(
        naive_position(
            predicted_overlap(teacher_crops[i], teacher_bases[j]),
            predicted_overlap(crops[i], bases[j]),
            "log",
        )
        for i, j in wanted
    ) / len(wanted)
    loss = inter_volume_loss(crops, bases, teacher_crops, teacher_bases, pairs=pairs)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_the_loss_between_volumes_does_not_depend_on_their_order():
    parts = [embeddings(4, 3, 8, seed=seed) for seed in range(4)]
    order = torch.tensor([2, 0, 3, 1])
    shuffled = [part[order] for part in parts]
    torch.testing.assert_close(inter_volume_loss(*shuffled), inter_volume_loss(*parts))


def test_the_teacher_gets_no_gradient_between_volumes():
    parts = [embeddings(2, 3, 8, seed=seed).requires_grad_() for seed in range(4)]
    inter_volume_loss(*parts).backward()
    assert all(part.grad is not None and part.grad.abs().sum() > 0 for part in parts[:2])
    assert all(part.grad is None for part in parts[2:])


def test_one_volume_has_no_other_to_compare_with():
    crops = embeddings(1, 2, 8).requires_grad_()
    loss = inter_volume_loss(crops, embeddings(1, 3, 8), crops.detach(), embeddings(1, 3, 8))
    loss.backward()
    assert loss == 0


def test_a_crop_on_the_wrong_side_of_a_base_it_overlaps_still_learns():
    bases = torch.tensor([[[1.0, 0.0]]])
    overlap = torch.ones(1, 1, 1)
    for known, moves in ((None, False), (overlap, True)):
        crops = torch.tensor([[[-1.0, 0.5]]], requires_grad=True)
        predicted = predicted_overlap(crops, bases, known)
        assert predicted.item() == 0.0
        position_loss(overlap, predicted).backward()
        assert bool(crops.grad.abs().sum() > 0) == moves


def test_accuracy_agrees_with_a_loop():
    crops, bases, overlap = embeddings(2, 4, 8), embeddings(2, 5, 8, seed=1), overlaps(2, 4, 5)
    right = 0
    for b in range(2):
        for k in range(4):
            likeness = [naive_cosine(crops[b, k], bases[b, n]) for n in range(5)]
            answered = likeness.index(max(likeness))
            right += bool(overlap[b, k, answered] == overlap[b, k].max())
    assert float(position_accuracy(crops, bases, overlap)) == pytest.approx(right / 8)


def test_accuracy_counts_bases_on_the_far_side_too():
    """Clamped at 0, all bases that a crop points away from would look alike."""
    bases = torch.tensor([[-1.0, 0.0], [-0.6, 0.8]])
    crops = torch.tensor([[1.0, 0.1]])
    assert position_accuracy(crops, bases, torch.tensor([[0.2, 0.8]])) == 1.0
    assert position_accuracy(crops, bases, torch.tensor([[0.8, 0.2]])) == 0.0
