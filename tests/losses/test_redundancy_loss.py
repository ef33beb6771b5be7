import math

import pytest
import torch

from medssl.losses.redundancy import (
    covariance_penalty,
    cross_correlation,
    manifold_capacity,
    variance_hinge,
)


def embeddings(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def columns(embedding):
    return embedding.double().T.tolist()


def mean(values):
    return sum(values) / len(values)


def covariance(a, b, *, correction):
    a, b = ([x - mean(values) for x in values] for values in (a, b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / (len(a) - correction)


def test_cross_correlation_agrees_with_a_loop():
    first, second = embeddings(7, 4), embeddings(7, 4, seed=1) * 3 + 1
    disagreement, redundancy = cross_correlation(first, second)
    on, off = 0.0, 0.0
    for i, a in enumerate(columns(first)):
        for j, b in enumerate(columns(second)):
            spread = covariance(a, a, correction=0) * covariance(b, b, correction=0)
            correlation = covariance(a, b, correction=0) / math.sqrt(spread)
            on += (1 - correlation) ** 2 if i == j else 0.0
            off += correlation**2 if i != j else 0.0
    assert disagreement.item() == pytest.approx(on, rel=1e-4)
    assert redundancy.item() == pytest.approx(off, rel=1e-4)


def test_variance_hinge_agrees_with_a_loop():
    embedding = embeddings(6, 5) * torch.tensor([0.1, 0.5, 1.0, 2.0, 0.0])
    spreads = [math.sqrt(covariance(c, c, correction=1) + 1e-4) for c in columns(embedding)]
    expected = mean([max(0.0, 1 - spread) for spread in spreads])
    assert variance_hinge(embedding).item() == pytest.approx(expected, rel=1e-5)


def test_covariance_penalty_agrees_with_a_loop():
    embedding = embeddings(6, 5)
    values = columns(embedding)
    expected = sum(
        covariance(values[i], values[j], correction=1) ** 2
        for i in range(5)
        for j in range(5)
        if i != j
    )
    assert covariance_penalty(embedding).item() == pytest.approx(expected / 5, rel=1e-5)


def nuclear_norm(matrix):
    """The sum of the roots of the eigenvalues of the matrix with itself."""
    values = torch.linalg.eigvalsh(matrix.double().T @ matrix.double())
    return sum(math.sqrt(max(0.0, value)) for value in values.tolist())


def test_manifold_capacity_agrees_with_a_loop():
    views = embeddings(5, 3, 4)
    rows = [[row / row.norm() for row in crop] for crop in views.double()]
    centres = torch.stack([sum(crop) / len(crop) for crop in rows])
    spread, around = manifold_capacity(views)
    assert spread.item() == pytest.approx(nuclear_norm(centres), rel=1e-5)
    expected = mean([nuclear_norm(torch.stack(crop)) for crop in rows])
    assert around.item() == pytest.approx(expected, rel=1e-5)


def test_agreement_and_spread_make_the_cloud_of_centres_larger():
    crops = torch.eye(4).repeat_interleave(2, dim=0).view(4, 2, 4)
    best, _ = manifold_capacity(crops)
    disagreeing = torch.stack([crops[:, 0], crops[:, 0].roll(1, dims=0)], dim=1)
    collapsed = torch.ones(4, 2, 4)
    assert best > manifold_capacity(disagreeing)[0]
    assert best > manifold_capacity(collapsed)[0]


def test_one_row_and_rows_that_are_alike_stay_finite():
    for rows in (embeddings(1, 4), torch.ones(6, 4)):
        embedding = rows.clone().requires_grad_()
        terms = [*cross_correlation(embedding, embedding), variance_hinge(embedding)]
        terms += [covariance_penalty(embedding), *manifold_capacity(embedding[:, None])]
        sum(terms).backward()
        assert all(term.isfinite() for term in terms)
        assert embedding.grad.isfinite().all()


def test_all_terms_are_float32_under_autocast():
    first, second = embeddings(6, 16), embeddings(6, 16, seed=1)

    def terms():
        return [
            *cross_correlation(first, second),
            variance_hinge(first),
            covariance_penalty(first),
            *manifold_capacity(torch.stack([first, second], dim=1)),
        ]

    exact = terms()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = terms()
    assert all(torch.equal(a, b) for a, b in zip(exact, low, strict=True))
