"""Crops brought to the size of the patch."""

import numpy as np
import pytest

from medssl.sampling.cut import resize_area, resize_nearest


@pytest.mark.parametrize(("given", "count"), [(12, 4), (12, 5), (9, 7), (4, 4), (7, 1)])
def test_shrinking_takes_the_mean_of_what_is_covered(given, count):
    line = np.random.default_rng(0).normal(size=given)
    fine = np.repeat(line, count)
    expected = fine.reshape(count, given).mean(axis=1)
    image = np.broadcast_to(line, (1, 3, given)).astype(np.float32)
    assert np.allclose(resize_area(image, (3, count)), expected, atol=1e-6)


def test_growing_interpolates_between_centres():
    image = np.array([[[0.0, 4.0]]], np.float32)
    assert resize_area(image, (1, 4)).tolist() == [[[0.0, 1.0, 3.0, 4.0]]]


def test_all_axes_of_a_volume_are_resized():
    image = np.ones((2, 8, 6, 5), np.float32)
    assert np.allclose(resize_area(image, (4, 9, 3)), np.ones((2, 4, 9, 3)))


def test_labels_keep_their_values():
    labels = np.array([[1, 1, 7, 7, 3, 3]])
    assert resize_nearest(labels, (1, 3)).tolist() == [[1, 7, 3]]
    assert resize_nearest(labels, (2, 12))[0].tolist() == [1] * 4 + [7] * 4 + [3] * 4
