"""Local correlation and roughness against loops in float64."""

import itertools

import pytest
import torch

from medssl.errors import ConfigError
from medssl.losses.registration import correlation_loss, roughness


def naive_correlation(first, second, window):
    """One less the mean squared correlation of the window around each voxel."""
    half = window // 2
    shape = first.shape[2:]
    found = []
    for a, b in zip(first.double().flatten(0, 1), second.double().flatten(0, 1), strict=True):
        for place in itertools.product(*map(range, shape)):
            box = tuple(slice(max(n - half, 0), n + half + 1) for n in place)
            u, v = a[box] - a[box].mean(), b[box] - b[box].mean()
            sums = window ** len(shape)
            shared = ((u * v).mean() * sums) ** 2
            found.append(shared / (u.square().mean() * v.square().mean() * sums**2 + 1e-5))
    return 1.0 - torch.stack(found).mean()


@pytest.mark.parametrize(("shape", "window"), [((6, 11, 4), 3), ((12, 7), 9), ((5, 6, 7), 9)])
def test_correlation_is_that_of_a_loop_over_windows(shape, window):
    first, second = torch.randn(2, 1, *shape) + 3.0, torch.randn(2, 1, *shape) - 5.0
    loss = correlation_loss(first, second, window=window)
    expected = naive_correlation(first, second, window)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


def test_brightness_contrast_and_sign_of_an_image_do_not_matter():
    image = torch.randn(1, 1, 12, 12, 12)
    assert correlation_loss(image, 3.0 - 2.0 * image).item() == pytest.approx(0.0, abs=1e-4)
    assert correlation_loss(image, torch.randn_like(image)).item() > 0.9


def test_flat_images_are_finite_and_do_not_agree():
    flat = torch.full((1, 1, 10, 10, 10), 1000.0, requires_grad=True)
    loss = correlation_loss(flat, torch.zeros(1, 1, 10, 10, 10))
    loss.backward()
    assert loss.item() == pytest.approx(1.0)
    assert flat.grad.isfinite().all()


def test_a_window_without_a_middle_is_refused():
    with pytest.raises(ConfigError, match="no middle; give an odd number"):
        correlation_loss(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), window=4)


@pytest.mark.parametrize("shape", [(3, 4, 5), (4, 6)])
def test_roughness_is_the_mean_squared_step_over_the_axes(shape):
    shifts = torch.randn(2, len(shape), *shape)
    total = 0.0
    for axis in range(len(shape)):
        steps = []
        for place in itertools.product(*map(range, shape)):
            if place[axis] + 1 < shape[axis]:
                after = list(place)
                after[axis] += 1
                step = shifts[(slice(None), slice(None), *after)] - shifts[..., *place]
                steps.append(step.double().square())
        total += torch.stack(steps).mean().item()
    assert roughness(shifts).item() == pytest.approx(total / len(shape), rel=1e-5)
    assert roughness(torch.ones(1, 2, 4, 4)).item() == 0.0
