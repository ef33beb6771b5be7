"""In-filling against loops, and the ratio against its definition."""

import math

import pytest
import torch

from medssl.parts.infilling import fill_linear, fill_smooth, psnr
from medssl.parts.pictures import masking_picture


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=[(2, 2, 5, 6, 4), (2, 1, 7, 6)], ids=["3d", "2d"])
def case(request):
    shape = request.param
    image = torch.randn(shape, generator=generator(1))
    hidden = torch.rand(shape[0], 1, *shape[2:], generator=generator(2)) < 0.5
    return image, hidden


def by_hand(image, hidden):
    """One voxel after the other, in float64; None where no line meets anything visible."""
    found = {}
    for place in hidden.nonzero().tolist():
        total = weight = 0.0
        for axis in range(2, image.ndim):
            for step in (-1, 1):
                at = list(place)
                for distance in range(1, image.shape[axis]):
                    at[axis] = place[axis] + step * distance
                    if not 0 <= at[axis] < image.shape[axis]:
                        break
                    if not hidden[tuple(at)]:
                        total = total + image[(at[0], slice(None), *at[2:])].double() / distance
                        weight += 1 / distance
                        break
        found[tuple(place)] = total / weight if weight else None
    return found


def test_it_agrees_with_a_loop(case):
    image, hidden = case
    filled = fill_linear(image, hidden)
    expected = by_hand(image, hidden)
    assert sum(value is not None for value in expected.values()) > 5
    for place, value in expected.items():
        if value is not None:
            torch.testing.assert_close(
                filled[(place[0], slice(None), *place[2:])].double(), value, atol=1e-5, rtol=1e-5
            )
    assert torch.equal(filled.where(~hidden, 0), image.where(~hidden, 0))


@pytest.mark.parametrize("fill", [fill_linear, fill_smooth])
def test_what_is_hidden_is_not_looked_at(case, fill):
    image, hidden = case
    spoilt = image.masked_fill(hidden, float("nan"))
    torch.testing.assert_close(fill(spoilt, hidden), fill(image, hidden))


@pytest.mark.parametrize("fill", [fill_linear, fill_smooth])
def test_everything_is_filled_from_a_single_visible_voxel(fill):
    image = torch.randn(1, 1, 4, 5, 6, generator=generator())
    hidden = torch.ones(1, 1, 4, 5, 6, dtype=torch.bool)
    hidden[0, 0, 1, 2, 3] = False
    torch.testing.assert_close(fill(image, hidden), image[0, 0, 1, 2, 3].expand(1, 1, 4, 5, 6))


def test_a_ramp_is_restored():
    ramp = torch.linspace(0, 1, 9).view(1, 1, 9, 1, 1).expand(1, 1, 9, 6, 6).contiguous()
    hidden = torch.zeros(1, 1, 9, 6, 6, dtype=torch.bool)
    hidden[:, :, 3:6] = True
    torch.testing.assert_close(fill_linear(ramp, hidden), ramp)
    torch.testing.assert_close(fill_smooth(ramp, hidden), ramp)


def test_a_smooth_filling_is_at_rest_where_each_voxel_is_the_mean_of_its_neighbours():
    image = torch.randn(1, 1, 6, 6, generator=generator())
    hidden = torch.zeros(1, 1, 6, 6, dtype=torch.bool)
    hidden[:, :, 2:4, 2:4] = True
    filled = fill_smooth(image, hidden, rounds=200)[0, 0]
    for x, y in ((2, 2), (2, 3), (3, 2), (3, 3)):
        around = filled[x - 1, y] + filled[x + 1, y] + filled[x, y - 1] + filled[x, y + 1]
        assert filled[x, y].item() == pytest.approx(around.item() / 4, abs=1e-5)


def test_an_image_of_which_nothing_is_visible_is_refused():
    with pytest.raises(ValueError, match="nothing of an image is visible"):
        fill_linear(torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4, dtype=torch.bool))


def test_the_ratio_is_that_of_its_definition(case):
    truth, hidden = case
    answer = truth + 0.1 * torch.randn(truth.shape, generator=generator(5))
    for number, ratio in enumerate(psnr(answer, truth, hidden)):
        mask = hidden[number].expand_as(truth[number])
        error = (answer[number] - truth[number])[mask].double().square().mean()
        width = (truth[number].max() - truth[number].min()).double()
        assert ratio.item() == pytest.approx(10 * math.log10(width**2 / error), abs=1e-3)


def test_visible_voxels_do_not_count_and_a_flat_image_is_finite(case):
    truth, hidden = case
    spoilt = truth.masked_fill(~hidden, 1e6)
    assert (psnr(spoilt, truth, hidden) > 100).all()
    flat = torch.zeros_like(truth)
    assert torch.isfinite(psnr(flat + 1, flat, hidden)).all()


def test_the_picture_shows_what_interpolation_makes_of_it_and_both_ratios(case):
    image, hidden = case
    (first, _) = masking_picture(image, hidden, image + 0.1)
    labels = [label for label, _ in first.panels]
    assert labels == ["input", "visible to the encoder", "rebuilt", "interpolated"]
    ours = psnr(image + 0.1, image, hidden)[0]
    theirs = psnr(fill_smooth(image, hidden), image, hidden)[0]
    assert f"rebuilt {ours:.1f} dB" in first.caption
    assert f"interpolated from what is visible {theirs:.1f} dB" in first.caption
