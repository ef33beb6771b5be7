import pytest
import torch

from medssl.errors import ConfigError
from medssl.parts.direct_predictor import DirectPredictor, make_predictor


def embeddings(*shape, seed=0):
    scale = torch.linspace(0.1, 3, shape[-1])
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale


def test_it_predicts_what_it_is_given_at_first():
    vectors = embeddings(5, 4)
    torch.testing.assert_close(DirectPredictor(4)(vectors), vectors)


def test_each_principal_direction_is_stretched_by_the_root_of_its_share():
    predictor = DirectPredictor(4, memory=0.3, floor=0.1)
    correlation = torch.zeros(4, 4, dtype=torch.float64)
    for seed in range(3):
        vectors = embeddings(50, 4, seed=seed)
        predictor(vectors)
        predictor.update()
        mean = sum(torch.outer(v, v) for v in vectors.double()) / 50
        correlation = 0.3 * correlation + 0.7 * mean
    along, directions = torch.linalg.eigh(correlation)
    for share, direction in zip(along / along.max(), directions.T, strict=True):
        torch.testing.assert_close(
            predictor(direction.float()[None])[0].double(),
            (share.sqrt() + 0.1) * direction,
            rtol=1e-4,
            atol=1e-4,
        )


def test_passes_between_two_steps_count_together():
    one, two = DirectPredictor(4), DirectPredictor(4)
    vectors = embeddings(6, 4)
    one(vectors)
    two(vectors[:3])
    two(vectors[3:])
    one.update()
    two.update()
    torch.testing.assert_close(one.correlation, two.correlation)
    two.update()
    torch.testing.assert_close(one.correlation, two.correlation)


def test_evaluation_and_calling_leave_it_as_it_is():
    predictor = DirectPredictor(4).eval()
    predictor(embeddings(5, 4))
    predictor.update()
    assert torch.equal(predictor.weight, torch.eye(4))


def test_embeddings_that_are_all_zero_stay_finite():
    predictor = DirectPredictor(4)
    predictor(torch.zeros(5, 4))
    predictor.update()
    assert predictor.weight.isfinite().all()


def test_the_kind_is_known():
    assert isinstance(make_predictor("direct", 4, 8, norm="batch"), DirectPredictor)
    assert make_predictor("mlp", 4, 8, norm="batch")(embeddings(3, 4)).shape == (3, 4)
    with pytest.raises(ConfigError, match='not "wise"'):
        make_predictor("wise", 4, 8, norm="batch")
