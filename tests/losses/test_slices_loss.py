import math

import pytest
import torch

from medssl.losses.slices import nearest_regions, pair_contrast, region_contrast, slice_pairs


def vectors(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def cosine(a, b):
    return float(a.double() @ b.double() / (a.double().norm() * b.double().norm()))


def pair_cost(anchor, positive, negatives, temperature):
    """The card's pair loss: only the pair itself and the anchor's negatives below the line."""
    top = math.exp(cosine(anchor, positive) / temperature)
    below = top + sum(math.exp(cosine(anchor, other) / temperature) for other in negatives)
    return -math.log(top / below)


def test_pairs_agree_with_a_loop():
    z = vectors(7, 5)
    generator = torch.Generator().manual_seed(1)
    kinds = torch.randint(3, (7, 7), generator=generator).fill_diagonal_(2)
    positive, negative = kinds == 0, kinds == 1
    costs = [
        pair_cost(z[i], z[j], z[negative[i]], 0.1)
        for i in range(7)
        for j in range(7)
        if positive[i, j]
    ]
    loss = pair_contrast(z, positive, negative, temperature=0.1)
    assert float(loss) == pytest.approx(sum(costs) / len(costs), rel=1e-5)


def test_no_positive_and_no_negative_cost_nothing_and_stay_finite():
    z = vectors(3, 4).requires_grad_()
    nothing = torch.zeros(3, 3, dtype=torch.bool)
    for positive in (nothing, ~torch.eye(3, dtype=torch.bool)):
        loss = pair_contrast(z, positive, nothing)
        loss.backward()
        assert loss == 0
        assert z.grad.isfinite().all()


def test_pairs_are_compared_in_float32_under_autocast():
    z = vectors(6, 32)
    positive = torch.eye(6, dtype=torch.bool).roll(1, 0)
    with torch.autocast("cpu", torch.bfloat16):
        low = pair_contrast(z, positive, ~positive)
    assert torch.equal(low, pair_contrast(z, positive, ~positive))


@pytest.mark.parametrize("matched", [False, True])
def test_regions_agree_with_a_loop(matched):
    slices, places = 3, 4
    z = vectors(slices, places, 2, 5)
    nearby = nearest_regions(vectors(places, 2, seed=3), 2)
    alike = torch.tensor([[0, 1, 0], [1, 0, 0], [0, 0, 0]], dtype=torch.bool)
    costs = []
    for n in range(slices):
        for a in range(places):
            others = [z[n, b, v] for b in range(places) if nearby[a, b] for v in range(2)]
            for v in range(2):
                costs.append(pair_cost(z[n, a, v], z[n, a, 1 - v], others, 0.2))
                costs += [
                    pair_cost(z[n, a, v], z[m, a, v], others, 0.2)
                    for m in range(slices)
                    if matched and alike[n, m]
                ]
    loss = region_contrast(z, nearby, alike if matched else None, temperature=0.2)
    assert float(loss) == pytest.approx(sum(costs) / len(costs), rel=1e-5)


def test_nearest_regions_are_the_nearest_others():
    line = torch.tensor([[0], [1], [3], [7]])
    assert nearest_regions(line, 2).int().tolist() == [
        [0, 1, 1, 0],
        [1, 0, 1, 0],
        [1, 1, 0, 0],
        [0, 1, 1, 0],
    ]
    assert nearest_regions(line, 9).sum() == 12


def test_slices_of_one_level_are_never_negatives_however_many_there_are():
    """The reference spares every fourth slice of a batch, right for four levels alone."""
    place, level = torch.arange(6) // 3, torch.tensor([0, 1, 2, 0, 1, 1])
    for kind in ("apart", "matched"):
        positive, negative = slice_pairs(place, level, 2, kind=kind)
        levels = level.repeat_interleave(2)
        assert torch.equal(negative, levels[:, None] != levels)
        assert not (positive & negative).any()
    by_stride = torch.arange(6).repeat_interleave(2) % 4
    assert not torch.equal(negative, by_stride[:, None] != by_stride)
