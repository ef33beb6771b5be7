import numpy as np
import pytest
import torch

from medssl.errors import ConfigError
from medssl.transforms.curves import Bezier, HistogramShift, look_up


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images():
    return torch.rand(4, 2, 9, 8, 7, generator=generator()) * 3 - 1


def unit(images):
    flat = images.double().flatten(2)
    low = flat.amin(2, keepdim=True)
    return (flat - low) / (flat.amax(2, keepdim=True) - low)


@pytest.mark.parametrize("transform", [HistogramShift(), Bezier()], ids=["shift", "bezier"])
def test_darkest_and_brightest_keep_their_values_or_change_places(transform, images):
    bent = transform(images, generator()).flatten(2)
    torch.testing.assert_close(bent.amin(2), images.flatten(2).amin(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(bent.amax(2), images.flatten(2).amax(2), atol=1e-5, rtol=0)


def test_a_histogram_shift_is_numpys_interpolation_between_its_points(images):
    transform = HistogramShift(control_points=5)
    params = transform.draw(images.shape, generator())
    got = unit(transform.apply(images, params))
    for number in range(4):
        for channel in range(2):
            heights = params["heights"][number, channel].numpy()
            values = unit(images)[number, channel].numpy()
            expected = np.interp(values, np.linspace(0, 1, 5), heights)
            np.testing.assert_allclose(got[number, channel], expected, atol=1e-5)


def test_a_histogram_shift_never_falls_and_keeps_to_its_slope():
    heights = HistogramShift(slope=4.0).draw((500, 1, 4, 4), generator())["heights"]
    rises = heights.diff(dim=2)
    assert rises.min() > 0
    assert 10 < (rises.amax(2) / rises.amin(2)).max() <= 16.001
    torch.testing.assert_close(heights[..., -1], torch.ones(500, 1))


def test_a_bezier_curve_agrees_with_its_formula_at_many_points(images):
    transform = Bezier(invert_share=0.0)
    params = transform.draw(images.shape, generator(4))
    got = unit(transform.apply(images, params))
    t = np.linspace(0, 1, 20_001)[:, None]
    for number in range(4):
        for channel in range(2):
            first, second = params["control"][number, channel].double().numpy()
            curve = 3 * (1 - t) ** 2 * t * first + 3 * (1 - t) * t**2 * second + t**3
            values = unit(images)[number, channel].numpy()
            # Place and height both rise with t, so that place to height is a function.
            assert (np.diff(curve, axis=0) >= -1e-12).all()
            expected = np.interp(values, curve[:, 0], curve[:, 1])
            np.testing.assert_allclose(got[number, channel], expected, atol=2e-3)


def test_an_inverted_curve_is_the_negative(images):
    plain, negative = Bezier(invert_share=0.0), Bezier(invert_share=1.0)
    params = plain.draw(images.shape, generator())
    inverted = negative.draw(images.shape, generator())
    assert torch.equal(params["control"], inverted["control"])
    total = unit(plain.apply(images, params)) + unit(negative.apply(images, inverted))
    torch.testing.assert_close(total, torch.ones_like(total), atol=1e-5, rtol=0)
    assert Bezier().draw((2000, 1, 2, 2), generator())["inverted"].float().mean() == pytest.approx(
        0.5, abs=0.03
    )


def test_bending_twice_as_far_keeps_the_curve_a_function():
    control = Bezier(bend=5.0).draw((200, 1, 4, 4), generator())["control"]
    assert control.min() == 0
    assert control.max() == 1


def test_a_table_is_read_linearly_and_at_its_ends():
    table = torch.tensor([[[0.0, 4.0, 5.0]]])
    values = torch.tensor([0.0, 0.125, 0.5, 0.75, 1.0]).view(1, 1, 5, 1)
    assert look_up(values, table).flatten().tolist() == [0.0, 1.0, 4.0, 4.5, 5.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"slope": 0.5}, "at least 1"), ({"control_points": 2}, "3 or more")],
)
def test_a_line_that_can_not_be_drawn_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        HistogramShift(**options)
