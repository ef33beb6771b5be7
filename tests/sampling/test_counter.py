"""Chance as a function of a seed and a number."""

import numpy as np
import pytest

from medssl.sampling import rng, volume_index


def test_the_same_counters_give_the_same_numbers_and_others_do_not():
    draws = {key: rng(*key).random(4).tolist() for key in [(0, 1), (1, 0), (0, 1, 0), (0,), (0, 2)]}
    assert draws[(0, 1)] == rng(0, 1).random(4).tolist()
    assert len({tuple(values) for values in draws.values()}) == len(draws)


def test_negative_seeds_are_seeds():
    assert rng(-1, 0).random() != rng(1, 0).random()


def test_every_epoch_visits_every_volume_once_in_an_order_of_its_own():
    epochs = [
        [volume_index(3, index, 11) for index in range(e * 11, e * 11 + 11)] for e in range(4)
    ]
    assert all(sorted(epoch) == list(range(11)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_the_order_does_not_depend_on_what_was_asked_before():
    forwards = [volume_index(5, index, 7) for index in range(40)]
    backwards = [volume_index(5, index, 7) for index in reversed(range(40))]
    assert forwards == backwards[::-1]


def test_streams_look_random():
    first = np.array([rng(0, number).random() for number in range(2000)])
    assert abs(first.mean() - 0.5) < 0.03
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.08


@pytest.mark.parametrize(("index", "count"), [(0, 0), (-1, 3)])
def test_numbers_that_do_not_exist_are_refused(index, count):
    with pytest.raises(ValueError, match="does not exist"):
        volume_index(0, index, count)
