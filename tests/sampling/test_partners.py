"""Who is shown beside whom, and crops at the same place of several bodies."""

import collections

import numpy as np
import pytest

from medssl.errors import ConfigError
from medssl.sampling import Corresponding, JointSampler, Partners, Uniform, VolumeFacts, rng
from medssl.sampling.position import body_coordinates, voxel_at
from medssl.types import Box

PATIENTS = ["a", "a", "b", "c", "c", "c", "d", "e"]
MODALITIES = ["ct", "mr", "ct", "ct", "ct", "mr", "mr", "mr"]


@pytest.mark.parametrize("modalities", [None, MODALITIES])
@pytest.mark.parametrize("count", [1, 2])
def test_partners_are_other_patients_each_once_and_of_the_same_modality(modalities, count):
    partners = Partners(PATIENTS, modalities, needed=count)
    for number in range(300):
        volume = number % len(PATIENTS)
        found = partners.of(7, number, volume, count)
        people = [PATIENTS[n] for n in (volume, *found)]
        assert len(set(people)) == count + 1
        if modalities:
            assert {modalities[n] for n in found} == {modalities[volume]}
        assert found == Partners(PATIENTS, modalities).of(7, number, volume, count)


def test_patients_are_drawn_evenly_however_many_volumes_they_have():
    partners = Partners(PATIENTS)
    drawn = collections.Counter(PATIENTS[partners.of(0, n, 2, 1)[0]] for n in range(2000))
    assert set(drawn) == {"a", "c", "d", "e"}
    assert min(drawn.values()) > 430


def test_a_volume_without_partners_is_refused():
    with pytest.raises(ConfigError, match="1 of 4 volumes have fewer than 1 other patients"):
        Partners(["a", "b", "c", "c"], ["ct", "ct", "ct", "pt"])
    with pytest.raises(ConfigError, match="same modality"):
        Partners(["a", "a"], ["ct", "ct"])


def body_at(start, stop, shape=(60, 60, 60)):
    cells = np.zeros([n // 4 for n in shape], bool)
    cells[tuple(slice(a // 4, b // 4) for a, b in zip(start, stop, strict=True))] = True
    return VolumeFacts(shape, (1.0,) * 3, cells, (4, 4, 4))


def test_corresponding_crops_lie_at_the_same_place_of_each_body():
    facts = [body_at((0, 8, 12), (40, 48, 52)), body_at((20, 8, 8), (52, 48, 52))]
    for number in range(50):
        places = Corresponding().places(facts, (8, 8, 8), rng(0, number))
        one, two = (place.targets["position"][0] for place in places)
        assert np.allclose(one, body_coordinates(facts[0], places[0].region))
        assert np.abs(one - two).max() <= 1 / 32


def test_jitter_moves_the_others_no_farther_than_it_says():
    facts = [body_at((0, 0, 0), (60, 60, 60))] * 3
    away = []
    for number in range(60):
        first, *others = Corresponding(volumes=3, jitter=0.25).places(
            facts, (16, 16, 16), rng(1, number)
        )
        away += [np.abs(np.subtract(o.region.start, first.region.start)).max() for o in others]
    assert 2 < max(away) <= 5


def test_voxels_and_body_coordinates_are_opposites():
    facts = body_at((8, 4, 12), (48, 56, 36))
    for voxel in [(8, 4, 12), (30, 17, 20), (47, 55, 35)]:
        assert voxel_at(facts, body_coordinates(facts, Box(voxel, (1, 1, 1)))) == voxel
    assert voxel_at(facts, np.array([-5.0, 0.5, 9.0])) == (0, 30, 59)


def test_samplers_of_one_volume_are_not_joint():
    assert isinstance(Corresponding(), JointSampler)
    assert not isinstance(Uniform(), JointSampler)
    with pytest.raises(ConfigError, match="2 or more"):
        Corresponding(volumes=1)
