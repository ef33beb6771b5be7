"""RankMe and spread of matrices whose answer is known."""

from __future__ import annotations

import math

import pytest
import torch

from medssl.evaluation.rank import (
    alpha_req,
    collapse_figures,
    feature_spread,
    mean_likeness,
    rankme,
)


def with_singular_values(values: list[float], n: int = 20, d: int = 12) -> torch.Tensor:
    """Return ``(n, d)`` features with these singular values."""
    generator = torch.Generator().manual_seed(0)
    left = torch.linalg.qr(torch.randn(n, len(values), generator=generator)).Q
    right = torch.linalg.qr(torch.randn(d, len(values), generator=generator)).Q
    return left @ torch.diag(torch.tensor(values)) @ right.T


@pytest.mark.parametrize("rank", [1, 3, 12])
def test_equal_singular_values_count_as_many_directions(rank: int) -> None:
    assert rankme(with_singular_values([2.0] * rank)) == pytest.approx(rank, rel=1e-4)


def test_rankme_is_the_exponential_of_the_entropy() -> None:
    shares = [0.5, 0.25, 0.25]
    entropy = -sum(p * math.log(p) for p in shares)
    features = with_singular_values([8.0, 4.0, 4.0])
    assert rankme(features) == pytest.approx(math.exp(entropy), rel=1e-4)
    assert rankme(100 * features) == pytest.approx(rankme(features), rel=1e-6)


def test_features_that_are_all_alike_have_rank_one_and_no_spread() -> None:
    figures = collapse_figures(torch.ones(16, 32) * torch.arange(1, 33))
    assert figures.rankme == pytest.approx(1.0, abs=1e-3)
    assert figures.spread == pytest.approx(0.0, abs=1e-6)
    assert figures.likeness == pytest.approx(1.0)


def test_features_that_are_all_zero_count_as_alike() -> None:
    figures = collapse_figures(torch.zeros(8, 4))
    assert figures.rankme == pytest.approx(1.0, abs=1e-3)
    assert figures.spread == 0.0


def test_features_on_one_line_spread_but_have_rank_one() -> None:
    direction = torch.arange(1.0, 9.0)
    figures = collapse_figures(torch.stack([direction, -direction] * 4))
    assert figures.rankme == pytest.approx(1.0, abs=1e-3)
    assert figures.spread == pytest.approx(1.0, abs=1e-6)


def test_directions_drawn_evenly_have_spread_one() -> None:
    features = torch.randn(4000, 16, generator=torch.Generator().manual_seed(1))
    assert feature_spread(features) == pytest.approx(1.0, abs=0.01)
    assert mean_likeness(features) == pytest.approx(0.0, abs=0.01)


def test_likeness_is_the_mean_over_pairs() -> None:
    features = torch.randn(7, 5, generator=torch.Generator().manual_seed(2))
    pairs = [
        float(torch.cosine_similarity(features[i], features[j], dim=0))
        for i in range(7)
        for j in range(7)
        if i != j
    ]
    assert mean_likeness(features) == pytest.approx(sum(pairs) / len(pairs), abs=1e-6)


def test_few_inputs_are_noted() -> None:
    assert "cannot exceed 8" in collapse_figures(torch.randn(8, 64)).note
    assert collapse_figures(torch.randn(65, 64)).note == ""


@pytest.mark.parametrize(
    "features", [torch.zeros(1, 4), torch.zeros(4), torch.tensor([[1.0, math.nan], [0.0, 1.0]])]
)
def test_what_is_no_set_of_features_is_refused(features: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="features"):
        rankme(features)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.5])
def test_alpha_is_the_exponent_of_the_spectrum(alpha):
    half = with_singular_values([(n + 1) ** (-alpha / 2) for n in range(8)])
    # mirrored, so that the mean is 0 and taking it off changes nothing
    assert alpha_req(torch.cat([half, -half])) == pytest.approx(alpha, abs=1e-6)


def test_features_that_are_all_alike_have_no_spectrum():
    assert alpha_req(torch.ones(5, 3)) == 0.0
