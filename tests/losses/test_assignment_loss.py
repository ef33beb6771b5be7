import math

import pytest
import torch

from medssl.losses.assignment import sinkhorn, swapped_prediction


def scores(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def naive_sinkhorn(values, epsilon, iterations, weights):
    """The iteration on plain numbers: prototypes get equal shares, then rows sum to 1."""
    table = [[math.exp(v / epsilon) for v in row] for row in values.double().tolist()]
    for _ in range(iterations):
        for k in range(len(table[0])):
            total = sum(w * row[k] for w, row in zip(weights, table, strict=True))
            for row in table:
                row[k] /= total
        table = [[v / sum(row) for v in row] for row in table]
    return table


@pytest.mark.parametrize("weights", [None, [1.0, 1, 0, 1, 0.5, 1]])
def test_sinkhorn_agrees_with_a_loop(weights):
    values = scores(6, 4)
    given = None if weights is None else torch.tensor(weights)
    codes = sinkhorn(values, epsilon=0.3, iterations=3, weights=given)
    expected = naive_sinkhorn(values, 0.3, 3, weights or [1.0] * 6)
    torch.testing.assert_close(
        codes.double(), torch.tensor(expected).double(), rtol=1e-4, atol=1e-6
    )


def test_many_iterations_give_each_prototype_an_equal_share():
    codes = sinkhorn(scores(12, 3), epsilon=0.5, iterations=50)
    torch.testing.assert_close(codes.sum(dim=1), torch.ones(12))
    torch.testing.assert_close(codes.sum(dim=0), torch.full((3,), 4.0))


def test_rows_without_weight_change_nothing_for_the_others():
    values = scores(5, 4)
    with_others = sinkhorn(values, weights=torch.tensor([1.0, 1, 1, 0, 0]))
    torch.testing.assert_close(with_others[:3], sinkhorn(values[:3]))


def test_a_low_temperature_does_not_overflow():
    """Powers of e themselves would: 1 / 0.001 is far past the largest exponent of float32."""
    codes = sinkhorn(scores(6, 4) * 10, epsilon=0.001, iterations=10)
    assert codes.isfinite().all()
    torch.testing.assert_close(codes.sum(dim=1), torch.ones(6))


def test_no_rows_and_no_weight_are_no_error():
    assert sinkhorn(torch.zeros(0, 3)).shape == (0, 3)
    torch.testing.assert_close(
        sinkhorn(scores(2, 3), weights=torch.zeros(2)).sum(dim=1), torch.ones(2)
    )


def test_sinkhorn_is_float32_under_autocast_and_takes_no_gradient():
    values = scores(6, 4).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        codes = sinkhorn(values)
    assert torch.equal(codes, sinkhorn(values))
    assert not codes.requires_grad


def test_swapped_prediction_agrees_with_a_loop():
    views = [scores(3, 4, seed=seed) for seed in range(3)]
    codes = [scores(3, 4, seed=seed).softmax(dim=1) for seed in (7, 8)]
    losses = []
    for asked, code in enumerate(codes):
        for view, values in enumerate(views):
            if view == asked:
                continue
            for row, target in zip(values.double().tolist(), code.double().tolist(), strict=True):
                total = sum(math.exp(v / 0.2) for v in row)
                answer = [math.log(math.exp(v / 0.2) / total) for v in row]
                losses.append(-sum(t * a for t, a in zip(target, answer, strict=True)))
    loss = swapped_prediction(views, codes, temperature=0.2)
    assert loss.item() == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_one_view_has_nothing_to_swap():
    with pytest.raises(ValueError, match="at least two"):
        swapped_prediction([scores(3, 4)], [scores(3, 4).softmax(dim=1)])
