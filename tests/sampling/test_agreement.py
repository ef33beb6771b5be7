import numpy as np
import pytest

from medssl.errors import ConfigError
from medssl.sampling.agreement import SharedPlaces, agreed, is_same
from medssl.sampling.body import Body
from medssl.sampling.facts import VolumeFacts
from medssl.sampling.grid import Grid
from medssl.sampling.overlaps import Overlaps
from medssl.sampling.pairs import Pairs
from medssl.sampling.places import Uniform


def names(samplers):
    return [f"term {number}" for number in range(len(samplers))]


@pytest.mark.parametrize(
    ("samplers", "served_by"),
    [
        ([Body(), Body()], 0),
        ([Body(), Body(crops=4)], 1),
        ([Body(), Overlaps(Body(crops=4)), Body(crops=2)], 1),
        ([Body(crops=4), Grid()], 1),
        ([Uniform(crops=2), Pairs(), Pairs()], 1),
    ],
)
def test_crops_with_a_meaning_come_first_then_several_crops(samplers, served_by):
    assert agreed(samplers, names(samplers)) == served_by


@pytest.mark.parametrize(
    "samplers", [[Grid(), Pairs()], [Grid(crops=2), Body(), Grid(crops=3)], [Pairs(), Grid()]]
)
def test_crops_with_different_meanings_are_refused(samplers):
    with pytest.raises(ConfigError, match="can't learn from the same crops"):
        agreed(samplers, names(samplers))


def test_samplers_are_compared_by_their_options():
    assert is_same(Overlaps(Body(crops=2)), Overlaps(Body(crops=2)))
    assert not is_same(Overlaps(Body(crops=2)), Overlaps(Body(crops=3)))
    assert not is_same(Body(), Uniform())


def test_shared_places_add_the_overlap_of_all_crops():
    facts = VolumeFacts((24, 24, 24), (1.0,) * 3, np.ones((3, 3, 3), bool), (8, 8, 8))
    shared = SharedPlaces(Grid(grid=(2, 1, 1), crops=1))
    place = shared.place(facts, (8, 8, 8), np.random.default_rng(0))
    assert place.targets["overlap"].shape == (1, 2)
    everyone = place.targets["crop_overlap"]
    np.testing.assert_allclose(np.diag(everyone), 1.0)
    np.testing.assert_allclose(everyone[2, :2], place.targets["overlap"][0])
    assert everyone[0, 1] == 0
