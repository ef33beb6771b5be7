from __future__ import annotations

import numpy as np

from medssl.phantom.noise import SmoothField, stream, tangle


def axes(start: float, step: float, count: int) -> tuple[np.ndarray, ...]:
    axis = (start + step * np.arange(count)).astype(np.float32)
    return axis, axis + 3, axis - 5


def test_a_field_has_mean_zero_and_deviation_one():
    field = SmoothField.draw(stream(0, "test"), 10.0)(axes(-200, 5, 80))
    assert abs(field.mean()) < 0.05
    assert abs(field.std() - 1) < 0.1


def test_a_field_is_a_function_of_millimetres():
    field = SmoothField.draw(stream(1, "test"), 14.0)
    coarse, fine = field(axes(-60, 6, 20)), field(axes(-60, 2, 60))
    np.testing.assert_allclose(fine[::3, ::3, ::3], coarse, atol=1e-4)


def test_a_field_is_smooth_at_its_pitch():
    field = SmoothField.draw(stream(2, "test"), 30.0)(axes(-60, 1, 60))
    assert np.abs(np.diff(field, axis=0)).max() < 0.25


def test_purposes_are_independent_and_replay():
    first, again = stream(3, "liver").random(4), stream(3, "liver").random(4)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, stream(3, "lungs").random(4))
    assert not np.array_equal(first, stream(4, "liver").random(4))


def test_a_tangle_is_thin():
    one, two = (SmoothField.draw(stream(5, name), 20.0)(axes(0, 4, 40)) for name in ("a", "b"))
    share = (tangle(one, two, 20.0) < 3).mean()
    assert 0.002 < share < 0.08
