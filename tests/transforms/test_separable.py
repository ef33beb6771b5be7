import pytest
import torch

from medssl.transforms.separable import (
    along_axes,
    coarse_matrix,
    gaussian_matrix,
    lowpass_matrix,
    nearest_places,
    resize_matrix,
    smooth_field,
    spline_knots,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_each_axis_meets_its_own_matrix():
    image = torch.rand(2, 3, 4, 5, 6, generator=generator())
    matrices = [
        torch.rand(2, out, size, generator=generator(size))
        for out, size in ((7, 4), (3, 5), (2, 6))
    ]
    expected = torch.einsum("bcxyz,bix,bjy,bkz->bcijk", image, *matrices)
    torch.testing.assert_close(along_axes(image, matrices), expected)


@pytest.mark.parametrize("size", [1, 2, 9])
def test_no_width_and_no_coarsening_are_exactly_the_identity(size):
    assert torch.equal(gaussian_matrix(torch.zeros(1), size)[0], torch.eye(size))
    assert torch.equal(coarse_matrix(torch.ones(1), size)[0], torch.eye(size))


@pytest.mark.parametrize("size", [1, 5, 16])
@pytest.mark.parametrize("factor", [1.0, 1.3, 2.0, 3.7, 40.0])
def test_rows_of_a_coarsening_sum_to_one(size, factor):
    matrix = coarse_matrix(torch.tensor([factor]), size)[0]
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(size))
    assert matrix.min() >= 0


def test_a_spline_keeps_what_is_constant_and_what_is_linear():
    constant = smooth_field(torch.full((1, 1, 5, 6), 0.3), (20, 11))
    torch.testing.assert_close(constant, torch.full((1, 1, 20, 11), 0.3))
    ramp = smooth_field(torch.arange(6.0).view(1, 1, 6, 1).expand(1, 1, 6, 4), (30, 4))
    steps = ramp[0, 0, :, 0].diff()
    torch.testing.assert_close(steps, torch.full((29,), 0.1))


def test_control_points_lie_about_as_far_apart_as_asked():
    assert spline_knots(96, 24) == 4 + 3
    assert spline_knots(10, 24) == 1 + 3


@pytest.mark.parametrize("size", [1, 2, 9])
def test_the_whole_at_its_own_size_and_nothing_cut_are_the_identity(size):
    start, edge = torch.zeros(1), torch.ones(1)
    torch.testing.assert_close(resize_matrix(start, edge, size, size)[0], torch.eye(size))
    torch.testing.assert_close(lowpass_matrix(start, size)[0], torch.eye(size))
    assert nearest_places(start, edge, size, size)[0].tolist() == list(range(size))


@pytest.mark.parametrize("out", [1, 5, 40])
def test_rows_of_a_resampling_sum_to_one_and_none_is_negative(out):
    start, edge = torch.tensor([0.0, 0.3, 0.9]), torch.tensor([1.0, 0.55, 0.1])
    matrix = resize_matrix(start, edge, 12, out)
    torch.testing.assert_close(matrix.sum(dim=2), torch.ones(3, out))
    assert matrix.min() >= -1e-6


@pytest.mark.parametrize("ratio", [1.5, 2.0, 3.3])
def test_a_larger_voxel_is_the_mean_of_the_interpolated_axis_over_its_width(ratio):
    signal = torch.rand(60, generator=generator(), dtype=torch.float64)
    out = round(60 / ratio)
    matrix = resize_matrix(torch.zeros(1), torch.ones(1), 60, out)[0].double()
    wider = (60 / out) ** 2 - 1
    for voxel in range(3, out - 3):
        centre = (voxel + 0.5) * 60 / out - 0.5
        places = centre + (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000 * wider**0.5
        places = places - wider**0.5 / 2
        low = places.floor().long()
        values = signal[low] + (places - low) * (signal[low + 1] - signal[low])
        assert float(matrix[voxel] @ signal) == pytest.approx(float(values.mean()), abs=1e-4)
