import itertools

import pytest
import torch

from medssl.losses.homology import homologous_contrast
from medssl.losses.reconstruction import gradient_map, masked_l1, masked_mse, normalise_cells


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=[(2, 3, 4, 5, 6), (2, 1, 4, 6)], ids=["3d", "2d"])
def case(request):
    shape = request.param
    prediction = torch.randn(shape, generator=generator(1))
    target = torch.randn(shape, generator=generator(2))
    hidden = torch.rand(shape[0], 1, *shape[2:], generator=generator(3)) < 0.6
    return prediction, target, hidden


def test_it_agrees_with_a_loop(case):
    prediction, target, hidden = case
    total, count = 0.0, 0
    for place in itertools.product(*map(range, prediction.shape)):
        if hidden[(place[0], 0, *place[2:])]:
            total += (float(prediction[place].double()) - float(target[place].double())) ** 2
            count += 1
    assert float(masked_mse(prediction, target, hidden)) == pytest.approx(total / count, rel=1e-5)


def test_absolute_error_agrees_with_a_loop(case):
    prediction, target, hidden = case
    errors = [
        abs(float(prediction[place].double()) - float(target[place].double()))
        for place in itertools.product(*map(range, prediction.shape))
        if hidden[(place[0], 0, *place[2:])]
    ]
    expected = sum(errors) / len(errors)
    assert float(masked_l1(prediction, target, hidden)) == pytest.approx(expected, rel=1e-5)
    spoilt = prediction.masked_fill(~hidden, float("nan"))
    assert torch.equal(masked_l1(spoilt, target, hidden), masked_l1(prediction, target, hidden))


def sobel_by_hand(image):
    """The length of the gradient at each voxel of ``(X, Y, Z)`` or ``(X, Y)``, in float64."""
    dims, found = image.ndim, torch.zeros(image.shape, dtype=torch.float64)
    for place in itertools.product(*map(range, image.shape)):
        total = 0.0
        for axis in range(dims):
            slope = 0.0
            for step in itertools.product((-1, 0, 1), repeat=dims):
                at = [
                    min(max(p + s, 0), n - 1)
                    for p, s, n in zip(place, step, image.shape, strict=True)
                ]
                weight = 1.0
                for other, s in enumerate(step):
                    weight *= s / 2 if other == axis else (0.5 if s == 0 else 0.25)
                slope += weight * float(image[tuple(at)].double())
            total += slope**2
        found[place] = total**0.5
    return found


def test_gradient_map_agrees_with_a_loop(case):
    image = case[1]
    found = gradient_map(image.bfloat16())
    assert found.dtype == torch.float32
    expected = sobel_by_hand(image[1, 0].bfloat16())
    torch.testing.assert_close(found[1, 0].double(), expected, atol=1e-5, rtol=1e-5)


def test_homologous_contrast_agrees_with_a_loop():
    features = torch.randn(2, 6, 4, generator=generator(1))
    owner = torch.tensor([[0, 0, 1, 1, 1, 2], [0, 1, 2, 0, 1, 2]])
    costs = []
    for b in range(2):
        z = [row / row.norm() for row in features[b].double()]
        for i in range(6):
            kin = [j for j in range(6) if j != i and owner[b, j] == owner[b, i]]
            others = [torch.exp(z[i] @ z[j] / 0.25) for j in range(6) if j != i]
            terms = [-torch.log(torch.exp(z[i] @ z[j] / 0.25) / sum(others)) for j in kin]
            costs += [sum(terms) / len(kin)] if kin else []
    expected = float(sum(costs) / len(costs))
    assert float(homologous_contrast(features, owner)) == pytest.approx(expected, rel=1e-5)


def test_homologous_contrast_of_features_that_are_all_alike_is_finite():
    features = torch.zeros(1, 4, 3, requires_grad=True)
    loss = homologous_contrast(features, torch.tensor([[0, 0, 1, 1]]))
    loss.backward()
    assert torch.isfinite(features.grad).all()
    assert homologous_contrast(torch.randn(1, 3, 2), torch.arange(3)[None]) == 0


@pytest.mark.parametrize("wild", [1e6, float("inf"), float("nan")])
def test_visible_voxels_count_for_nothing(case, wild):
    prediction, target, hidden = case
    spoilt = prediction.masked_fill(~hidden, wild).requires_grad_()
    loss = masked_mse(spoilt, target, hidden)
    assert torch.equal(loss, masked_mse(prediction, target, hidden))
    loss.backward()
    seen = ~hidden.expand_as(prediction)
    assert (spoilt.grad[seen] == 0).all()
    assert (spoilt.grad[~seen] != 0).all()


def test_the_mask_decides_what_counts(case):
    prediction, target, hidden = case
    everything = masked_mse(prediction, target, torch.ones_like(hidden))
    losses = [float(masked_mse(prediction, target, mask)) for mask in (hidden, ~hidden)]
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)
    share = float(hidden.float().mean())
    mixed = share * losses[0] + (1 - share) * losses[1]
    assert mixed == pytest.approx(float(everything), rel=1e-5)


def test_nothing_hidden_costs_nothing(case):
    prediction, target, hidden = case
    assert masked_mse(prediction, target, torch.zeros_like(hidden)) == 0


def test_it_is_computed_in_float32(case):
    prediction, target, hidden = case
    low = masked_mse(prediction.bfloat16(), target, hidden)
    assert low.dtype == torch.float32
    expected = masked_mse(prediction.bfloat16().float(), target, hidden)
    assert torch.equal(low, expected)


def test_a_mask_of_numbers_is_refused(case):
    prediction, target, hidden = case
    with pytest.raises(ValueError, match="give booleans"):
        masked_mse(prediction, target, hidden.float())


def test_shapes_must_agree(case):
    prediction, target, hidden = case
    with pytest.raises(ValueError, match="must agree in shape"):
        masked_mse(prediction[:1], target, hidden)


def test_cells_are_normalised_one_by_one():
    image = torch.rand(2, 1, 8, 6, 4, generator=generator()) * 5 + 3
    normalised = normalise_cells(image, (4, 2, 1))
    for b, i, j in itertools.product(range(2), range(4), range(2)):
        box = (b, 0, slice(2 * i, 2 * i + 2), slice(3 * j, 3 * j + 3))
        own = image[box].double()
        expected = (own - own.mean()) / (own.var() + 1e-6).sqrt()
        torch.testing.assert_close(normalised[box].double(), expected, atol=1e-5, rtol=1e-5)


def test_a_cell_of_one_value_becomes_zero():
    assert (normalise_cells(torch.full((1, 1, 4, 4), -1.0), (2, 2)) == 0).all()


def test_a_grid_that_does_not_tile_is_refused():
    with pytest.raises(ValueError, match="does not tile"):
        normalise_cells(torch.zeros(1, 1, 8, 8), (3, 2))
