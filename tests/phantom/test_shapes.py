from __future__ import annotations

import numpy as np
import pytest

from medssl.phantom.shapes import (
    Points,
    blend,
    carve,
    ellipsoid,
    half_space,
    meet,
    segment,
    tube,
    varied,
)


def points(*places: tuple[float, float, float]) -> Points:
    x, y, z = np.array(places, np.float32).T
    return Points(x, y, z, x, x, x)


def test_a_ball_has_the_exact_distance():
    places = np.random.default_rng(0).uniform(-40, 40, (200, 3))
    found = ellipsoid((3, -2, 5), (12, 12, 12)).distance(points(*places))
    expected = np.linalg.norm(places - (3, -2, 5), axis=1) - 12
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_turned_ellipsoid_is_the_ellipsoid_of_turned_points():
    angle = np.radians(30)
    direction = np.array([np.cos(angle), np.sin(angle), 0])
    shape = ellipsoid((0, 0, 0), (30, 10, 10), turn=(0, 0, 30))
    tip, beyond = shape.distance(points(tuple(30 * direction), tuple(33 * direction)))
    assert tip == pytest.approx(0, abs=1e-3)
    assert beyond == pytest.approx(3, rel=0.1)
    assert np.all(np.array(shape.high) >= 30 * direction - 1e-6)


def test_a_rod_tapers_and_ends_round():
    shape = segment((0, 0, 0), (0, 0, 10), (4, 2))
    found = shape.distance(points((4, 0, 0), (2, 0, 10), (3, 0, 5), (0, 0, 12), (0, 0, -4)))
    np.testing.assert_allclose(found, 0, atol=1e-5)


def test_a_tube_has_a_rod_between_each_two_stations():
    rods = tube((0, 0, 0, 2), (0, 0, 10, 2), (10, 0, 10, 3))
    assert len(rods) == 2
    assert rods[1].high == (13, 3, 13)


def test_joined_cut_and_shared_shapes_agree_with_sets_away_from_the_seams():
    left, right = ellipsoid((-6, 0, 0), (10, 10, 10)), ellipsoid((6, 0, 0), (10, 10, 10))
    places = points(*np.random.default_rng(1).uniform(-20, 20, (500, 3)))
    a, b = left.distance(places), right.distance(places)
    far = (np.abs(a) > 2) & (np.abs(b) > 2) & (np.abs(a - b) > 2) & (np.abs(a + b) > 2)
    for made, expected in (
        (blend(left, right, blend_mm=2), (a < 0) | (b < 0)),
        (meet(left, right, blend_mm=2), (a < 0) & (b < 0)),
        (carve(left, right, blend_mm=2), (a < 0) & (b > 0)),
    ):
        np.testing.assert_array_equal((made.distance(places) < 0)[far], expected[far])


def test_a_blend_fills_the_seam_and_a_sharp_one_does_not():
    left, right = ellipsoid((-9, 0, 0), (10, 10, 10)), ellipsoid((9, 0, 0), (10, 10, 10))
    groove = points((0, 5, 0))
    assert blend(left, right, blend_mm=0).distance(groove)[0] > 0
    assert blend(left, right, blend_mm=12).distance(groove)[0] < 0


def test_boxes_hold_their_shapes():
    shape = meet(
        blend(
            ellipsoid((0, 10, 0), (20, 8, 12), turn=(10, 20, 30)), ellipsoid((9, 0, 0), (5, 5, 5))
        ),
        half_space((0, 0, 1), 6),
    )
    places = np.random.default_rng(2).uniform(-40, 40, (20000, 3))
    inside = places[shape.distance(points(*places)) < 0]
    assert len(inside) > 100
    assert (inside >= np.array(shape.low)).all()
    assert (inside <= np.array(shape.high)).all()


def test_a_varied_shape_is_stretched_and_moved():
    shape = varied(
        ellipsoid((10, 0, 0), (5, 5, 5)), factor=(2, 2, 2), shift_mm=(0, 3, 0), pivot=(10, 0, 0)
    )
    found = shape.distance(points((10, 3, 0), (20, 3, 0), (10, 13, 0), (10, 3, 12)))
    np.testing.assert_allclose(found, (-10, 0, 0, 2), atol=1e-3)
    assert shape.low == (0, -7, -10)
