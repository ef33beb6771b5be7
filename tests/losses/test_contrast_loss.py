import math

import pytest
import torch

from medssl.losses.contrast import (
    cosines,
    dense_contrast,
    info_nce,
    mix_negatives,
    nt_xent,
    unit,
)
from medssl.parts.points import MatchedPoints


def embeddings(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def naive_cosine(a, b):
    a, b = a.double().tolist(), b.double().tolist()
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def naive_nt_xent(first, second, temperature, same):
    """The card's formula, one row after the other, without those that are no negatives."""
    count = len(first)
    rows = [*first, *second]
    losses = []
    for i, row in enumerate(rows):
        partner = (i + count) % (2 * count)
        terms = {
            k: math.exp(naive_cosine(row, rows[k]) / temperature)
            for k in range(2 * count)
            if k != i and (k == partner or not same[i % count][k % count])
        }
        losses.append(-math.log(terms[partner] / sum(terms.values())))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("masked", [False, True])
def test_nt_xent_agrees_with_a_loop(masked):
    first, second = embeddings(5, 8), embeddings(5, 8, seed=1)
    same = torch.eye(5, dtype=torch.bool)
    if masked:
        same[1, 2] = same[2, 1] = same[0, 4] = same[4, 0] = True
    loss = nt_xent(first, second, temperature=0.3, same=same if masked else None)
    assert loss.item() == pytest.approx(naive_nt_xent(first, second, 0.3, same.tolist()), rel=1e-5)


def test_rows_that_overlap_are_not_pushed_apart():
    """The form that takes them for strangers moves one away from the other."""
    first, second = embeddings(2, 8), embeddings(2, 8, seed=1)
    together = torch.ones(2, 2, dtype=torch.bool)
    assert nt_xent(first, second, same=together) == 0
    assert nt_xent(first, second) > 0


def test_nt_xent_of_one_row_is_nothing_and_finite():
    row = embeddings(1, 8).requires_grad_()
    loss = nt_xent(row, embeddings(1, 8, seed=1))
    loss.backward()
    assert loss == 0
    assert row.grad.isfinite().all()


def test_contrast_is_float32_under_autocast():
    first, second = embeddings(6, 64), embeddings(6, 64, seed=1)
    exact = nt_xent(first, second), cosines(unit(first), unit(second))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = nt_xent(first, second), cosines(unit(first), unit(second))
    assert all(torch.equal(a, b) for a, b in zip(exact, low, strict=True))


def test_info_nce_agrees_with_a_loop():
    positive, negative = embeddings(3), embeddings(3, 4, seed=1)
    allowed = embeddings(3, 4, seed=2) > 0
    losses = info_nce(positive, negative, temperature=0.5, allowed=allowed)
    for row in range(3):
        own = math.exp(positive[row].double() / 0.5)
        others = [
            math.exp(negative[row, k].double() / 0.5) for k in range(4) if bool(allowed[row, k])
        ]
        assert losses[row].item() == pytest.approx(-math.log(own / (own + sum(others))), rel=1e-5)


def mixed(queries, bank, *, allowed=None, **options):
    if allowed is None:
        allowed = torch.ones(len(queries), len(bank), dtype=torch.bool)
    given = {"hardest": 4, "mixed": 64, "with_query": 64, **options}
    return mix_negatives(queries, bank, allowed, torch.Generator().manual_seed(0), **given)


def test_mixed_negatives_are_harder_than_what_they_are_made_of():
    queries, bank = unit(embeddings(3, 8)), unit(embeddings(32, 8, seed=1))
    made, usable = mixed(queries, bank)
    assert made.shape == (3, 128, 8)
    assert usable.all()
    torch.testing.assert_close(made.norm(dim=2), torch.ones(3, 128))
    nearness = (made * queries[:, None]).sum(dim=2)
    fourth = cosines(queries, bank).topk(4).values[:, -1]
    # two unit vectors' mixture, at length 1, is no farther than the farther of them
    assert (nearness >= fourth[:, None] - 1e-6).all()
    assert nearness[:, 64:].mean() > nearness[:, :64].mean()


def test_what_is_all_but_the_query_itself_is_not_mixed():
    query = unit(torch.tensor([[1.0, 0.0, 0.0]]))
    twin, stranger = torch.tensor([1.0, 0.1, 0.0]), torch.tensor([0.3, 0.0, 1.0])
    bank = unit(torch.stack([twin, stranger]))
    clipped, _ = mixed(query, bank, with_query=0, hardest=2)
    torch.testing.assert_close(clipped[0], bank[1].expand(64, 3))
    free, _ = mixed(query, bank, with_query=0, hardest=2, clip=1.0)
    assert (free @ query[0]).max() > 0.9


def test_nothing_is_mixed_of_a_queue_that_is_empty():
    _, usable = mixed(
        unit(embeddings(2, 8)), torch.zeros(4, 8), allowed=torch.zeros(2, 4, dtype=torch.bool)
    )
    assert not usable.any()


def naive_dense(points, same, temperature, radius):
    losses = []
    crops, count = points.seen.shape
    places = [(i, p) for i in range(crops) for p in range(count)]
    for i, p in places:
        if not points.seen[i, p]:
            continue
        for ask, answer in ((points.second, points.first), (points.first, points.second)):
            terms = {}
            for j, q in places:
                away = (points.where[i, p] - points.where[j, q]).abs().max()
                stranger = (i != j and not same[i, j]) or (i == j and away > radius)
                if (i, p) == (j, q) or (stranger and points.seen[j, q]):
                    terms[j, q] = math.exp(naive_cosine(ask[i, p], answer[j, q]) / temperature)
            losses.append(-math.log(terms[i, p] / sum(terms.values())))
    return sum(losses) / len(losses)


def test_dense_contrast_agrees_with_a_loop():
    where = torch.tensor([[[0.0, 0], [0, 1], [2, 2]], [[1.0, 0], [3, 1], [2, 2]], [[0.0, 0]] * 3])
    seen = torch.tensor([[True, True, True], [True, False, True], [True, True, False]])
    points = MatchedPoints(embeddings(3, 3, 8), embeddings(3, 3, 8, seed=1), seen, where)
    same = torch.eye(3, dtype=torch.bool)
    same[0, 1] = same[1, 0] = True
    loss = dense_contrast(points, same, temperature=0.3, radius=1.0)
    assert loss.item() == pytest.approx(naive_dense(points, same, 0.3, 1.0), rel=1e-5)


def test_dense_contrast_of_views_that_share_nothing_is_nothing():
    first = embeddings(2, 3, 8).requires_grad_()
    points = MatchedPoints(
        first, embeddings(2, 3, 8), torch.zeros(2, 3, dtype=torch.bool), torch.zeros(2, 3, 2)
    )
    loss = dense_contrast(points, torch.eye(2, dtype=torch.bool))
    loss.backward()
    assert loss == 0
    assert first.grad.isfinite().all()
