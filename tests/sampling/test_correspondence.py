"""Matches by features against searching every cell, and crops around them."""

import numpy as np
import pytest

from medssl.errors import ConfigError, StoreError
from medssl.sampling import LearnedPairs, VolumeFacts, rng
from medssl.sampling.correspondence import Descriptors, best_match, descriptor_path

GRID, STRIDE = (8, 9, 7), (4, 4, 4)
SHAPE = (32, 36, 28)


def normalised(features):
    return (features / np.linalg.norm(features, axis=0)).astype(np.float16)


def random_descriptors(number):
    features = np.random.default_rng(number).normal(size=(12, *GRID))
    return Descriptors(normalised(features), STRIDE)


def moved(descriptors, steps, noise=0.1):
    """The same anatomy, moved by whole cells, seen with some noise."""
    features = np.roll(descriptors.features.astype(float), steps, axis=(1, 2, 3))
    features = features + noise * np.random.default_rng(9).normal(size=features.shape)
    return Descriptors(normalised(features), STRIDE)


@pytest.mark.parametrize("pull", [0.0, 0.4])
def test_the_best_match_is_that_of_searching_every_cell(pull):
    first, second = random_descriptors(0), random_descriptors(1)
    chance = np.random.default_rng(2)
    for _ in range(20):
        voxel, guess = (tuple(int(v) for v in chance.integers(0, SHAPE)) for _ in range(2))
        reach = tuple(int(v) for v in chance.integers(1, 16, 3))
        asked = first.features[(slice(None), *(v // 4 for v in voxel))].astype(float)
        best, best_score = None, -np.inf
        for cell in np.ndindex(GRID):
            low = [max(g - r, 0) // 4 for g, r in zip(guess, reach, strict=True)]
            high = [min((g + r) // 4, n - 1) for g, r, n in zip(guess, reach, GRID, strict=True)]
            if not all(a <= c <= b for a, c, b in zip(low, cell, high, strict=True)):
                continue
            far = np.sum(((4 * np.array(cell) + 1.5 - guess) / reach) ** 2)
            score = float(asked @ second.features[(slice(None), *cell)].astype(float)) - pull * far
            if score > best_score:
                best, best_score = cell, score
        match = best_match(first, voxel, second, guess, reach, pull=pull)
        assert tuple(v // 4 for v in match.voxel) == best
        assert tuple(v % 4 for v in match.voxel) == tuple(v % 4 for v in voxel)


def test_moved_anatomy_is_found_where_it_went_and_the_way_back_leads_home():
    first = random_descriptors(0)
    second = moved(first, (1, -2, 1))
    for voxel in [(8, 16, 8), (13, 22, 11)]:
        match = best_match(first, voxel, second, voxel, (12, 12, 12), pull=0.0)
        assert match.voxel == (voxel[0] + 4, voxel[1] - 8, voxel[2] + 4)
        assert match.is_mutual
        assert match.likeness > 0.9


def test_what_has_no_counterpart_is_seldom_mutual():
    first, second = random_descriptors(0), random_descriptors(1)
    mutual = [
        best_match(first, tuple(cell), second, tuple(cell), (16, 16, 16)).is_mutual
        for cell in np.random.default_rng(3).integers(4, 28, (60, 3)).tolist()
    ]
    assert np.mean(mutual) < 0.4


def write(folder, volume, descriptors):
    folder.mkdir(exist_ok=True)
    np.savez(
        descriptor_path(folder, volume),
        features=descriptors.features,
        stride=np.array(descriptors.stride),
    )


def facts_of(volume):
    cells = np.ones(GRID, bool)
    return VolumeFacts(SHAPE, (1.0,) * 3, cells, STRIDE, volume=volume)


def test_learned_pairs_lie_around_the_same_anatomy(tmp_path):
    folder = tmp_path / "voco"
    first = random_descriptors(0)
    write(folder, "one", first)
    write(folder, "two", moved(first, (1, -1, 0)))
    sampler = LearnedPairs(folder, reach=0.3)
    hits = []
    for number in range(40):
        places = sampler.places([facts_of("one"), facts_of("two")], (8, 8, 8), rng(0, number))
        one, two = (place.region for place in places)
        assert places[1].targets["likeness"][0] <= 1.01
        hits.append(np.subtract(two.start, one.start).tolist() == [4, -4, 0])
        again = sampler.places([facts_of("one"), facts_of("two")], (8, 8, 8), rng(0, number))
        assert [place.region for place in again] == [one, two]
    # Crops near the end of the volume are moved inside, and anatomy that left it has no match.
    assert np.mean(hits) > 0.6


def test_missing_and_damaged_descriptors_are_named(tmp_path):
    folder = tmp_path / "voco"
    write(folder, "a/b", random_descriptors(0))
    assert Descriptors.read(folder, "a/b").stride == STRIDE
    with pytest.raises(StoreError, match='hold no volume "other"'):
        Descriptors.read(folder, "other")
    path = descriptor_path(folder, "a/b")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(StoreError, match="damaged"):
        Descriptors.read(folder, "a/b")
    path.write_bytes(bytes(content[:100]))
    with pytest.raises(StoreError, match="damaged"):
        Descriptors.read(folder, "a/b")


def test_a_reach_of_nothing_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="reach"):
        LearnedPairs(tmp_path, reach=0.0)
