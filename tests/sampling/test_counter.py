"""Chance as a function of a seed and a number."""

import numpy as np
import pytest

from medssl.sampling import VolumeOrder, rng, volume_index


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


PATIENTS = ["a"] * 40 + ["b", "c", "c", "d"]
STUDIES = ["1"] * 30 + ["2"] * 10 + ["1", "1", "2", "1"]


def visits(order, epochs):
    return [[order[e * order.epoch + n] for n in range(order.epoch)] for e in range(epochs)]


def test_every_epoch_visits_every_patient_once():
    order = VolumeOrder(3, len(PATIENTS), [PATIENTS, STUDIES])
    assert order.epoch == 4
    epochs = visits(order, 30)
    assert all(sorted(PATIENTS[n] for n in epoch) == ["a", "b", "c", "d"] for epoch in epochs)
    assert len({tuple(PATIENTS[n] for n in epoch) for epoch in epochs}) > 10


def test_a_patient_shows_its_studies_evenly_and_every_series_before_one_comes_again():
    order = VolumeOrder(3, len(PATIENTS), [PATIENTS, STUDIES])
    of_a = [n for epoch in visits(order, 60) for n in epoch if PATIENTS[n] == "a"]
    for pair in range(0, 60, 2):
        assert sorted(STUDIES[n] for n in of_a[pair : pair + 2]) == ["1", "2"]
    second = [n for n in of_a if STUDIES[n] == "2"]
    assert sorted(second[:10]) == sorted(second[10:20]) == sorted(second[20:30])
    assert second[:10] != second[10:20]
    assert len({n for n in of_a if STUDIES[n] == "1"}) == 30


def test_groups_of_one_volume_change_nothing():
    names = [f"patient {n}" for n in range(13)]
    order = VolumeOrder(5, 13, [names, ["study"] * 13])
    assert [order[n] for n in range(60)] == [volume_index(5, n, 13) for n in range(60)]
    assert [VolumeOrder(5, 13)[n] for n in range(60)] == [order[n] for n in range(60)]


def test_three_levels_are_even_at_each_of_them():
    kinds = ["ct"] * 9 + ["mr"] * 3
    people = ["a", "a", "a", "a", "a", "b", "b", "c", "d", "a", "e", "f"]
    order = VolumeOrder(0, 12, [kinds, people, [str(n) for n in range(12)]])
    drawn = [order[n] for n in range(2 * 4 * 60)]
    assert [kinds[n] for n in drawn].count("ct") == len(drawn) // 2
    of_ct = [people[n] for n in drawn if kinds[n] == "ct"]
    assert {name: of_ct.count(name) for name in "abcd"} == dict.fromkeys("abcd", 60)
    of_a = [n for n in drawn if kinds[n] == "ct" and people[n] == "a"]
    assert {n: of_a.count(n) for n in range(5)} == dict.fromkeys(range(5), 12)


def test_any_sample_can_be_asked_for_alone():
    order = VolumeOrder(3, len(PATIENTS), [PATIENTS, STUDIES])
    whole = [order[n] for n in range(100)]
    assert [VolumeOrder(3, len(PATIENTS), [PATIENTS, STUDIES])[n] for n in (99, 7, 50)] == [
        whole[n] for n in (99, 7, 50)
    ]


def test_orders_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        VolumeOrder(0, 0)
    with pytest.raises(ValueError, match="give one each"):
        VolumeOrder(0, 3, [["a", "b"]])
    with pytest.raises(IndexError):
        VolumeOrder(0, 3)[-1]
