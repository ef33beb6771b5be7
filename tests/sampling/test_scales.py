"""Wholes and their parts."""

import numpy as np
import pytest

from medssl.sampling import PartWhole, Slices, VolumeFacts, rng
from medssl.sampling.cut import cut_images
from medssl.types import Box


def facts_of(shape):
    cells = np.ones([-(-count // 4) for count in shape], bool)
    return VolumeFacts(shape, (1.0,) * len(shape), cells, (4,) * len(shape))


def reader(data):
    def read(start, size):
        box = tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))
        return data[box][None]

    return read


@pytest.mark.parametrize(
    ("shape", "patch", "parts"), [((40, 36, 32), (8, 6, 10), 8), ((40, 36), (8, 12), 4)]
)
def test_parts_tile_the_whole_which_is_the_mean_of_its_blocks(shape, patch, parts):
    facts = facts_of(shape)
    data = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    for number in range(5):
        place = PartWhole().place(facts, patch, rng(0, number))
        assert len(place.crops) == 1 + parts
        cover = np.zeros(place.region.size, int)
        for box in place.crops[1:]:
            cover[tuple(slice(a, b) for a, b in zip(box.start, box.stop, strict=True))] += 1
        assert (cover == 1).all()
        images = cut_images(reader(data), facts, place, patch)
        assert images.shape == (1 + parts, 1, *patch)
        whole = reader(data)(place.region.start, place.region.size)[0]
        for index in np.ndindex(patch):
            block = whole[tuple(slice(2 * n, 2 * n + 2) for n in index)]
            assert images[(0, 0, *index)] == pytest.approx(float(block.mean()), abs=1e-5)
        for part, box, at in zip(
            images[1:], place.crops[1:], place.targets["part_position"], strict=True
        ):
            start = np.add(place.region.start, box.start)
            assert np.array_equal(part, reader(data)(tuple(start), patch))
            assert np.allclose(at, np.add(box.start, np.divide(patch, 2)) / np.multiply(patch, 2))


def test_a_slice_has_quadrants():
    place = Slices(PartWhole()).place(facts_of((40, 36, 32)), (8, 6), rng(0, 0))
    assert place.crops[0] == Box((0, 0, 0), (16, 12, 1))
    assert len(place.crops) == 5


def test_a_factor_below_one_is_refused():
    with pytest.raises(ValueError, match="no parts"):
        PartWhole(factor=0)
