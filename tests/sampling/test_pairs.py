"""Pairs against counting voxels, and their bounds at any size and in any room."""

import numpy as np
import pytest

from medssl.errors import ConfigError
from medssl.sampling import Pairs, VolumeFacts, rng
from medssl.sampling.pairs import intersection_over_union
from medssl.types import Box


def facts_of(shape):
    cells = np.ones([-(-count // 4) for count in shape], bool)
    return VolumeFacts(shape, (1.0,) * len(shape), cells, (4,) * len(shape))


def painted(place):
    """The crops as masks of the region."""
    masks = []
    for box in place.crops:
        mask = np.zeros(place.region.size, bool)
        mask[tuple(slice(a, b) for a, b in zip(box.start, box.stop, strict=True))] = True
        masks.append(mask)
    return masks


@pytest.mark.parametrize("iou", [(0.0, 0.1), (0.25, 0.75), (0.5, 0.55), (0.9, 1.0)])
@pytest.mark.parametrize(
    ("shape", "patch"),
    [
        ((60, 50, 40), (16, 12, 8)),
        ((60, 50, 9), (16, 12, 8)),
        ((16, 12, 8), (16, 12, 8)),
        ((10, 50, 40), (16, 12, 8)),
        ((60, 50, 40), (16, 16, 1)),
        ((60, 50), (16, 24)),
    ],
)
def test_overlap_is_within_bounds_and_agrees_with_counted_voxels(iou, shape, patch):
    sampler = Pairs(iou=iou)
    for number in range(25):
        place = sampler.place(facts_of(shape), patch, rng(0, number))
        first, second = painted(place)
        counted = (first & second).sum() / (first | second).sum()
        assert place.targets["iou"] == pytest.approx(counted, abs=1e-6)
        assert iou[0] - 1e-6 <= counted <= iou[1] + 1e-6


@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.6, 1.5)])
def test_relative_geometry_agrees_with_the_boxes(scale):
    facts = facts_of((60, 50, 40))
    sizes = set()
    for number in range(30):
        place = Pairs(iou=(0.1, 0.6), scale=scale).place(facts, (16, 12, 8), rng(1, number))
        first, second = place.crops
        sizes.add(second.size)
        coordinates = [np.stack(np.nonzero(mask)).mean(axis=1) for mask in painted(place)]
        moved = (coordinates[1] - coordinates[0]) / first.size
        assert np.allclose(place.targets["relative_position"], moved, atol=1e-6)
        assert np.allclose(place.targets["relative_size"], np.divide(second.size, first.size))
        middle = np.add(place.region.start, second.start) + np.divide(second.size, 2)
        assert np.allclose(place.targets["position"][1], middle / facts.shape, atol=1e-6)
    assert (len(sizes) > 1) == (scale != (1.0, 1.0))


def test_pairs_stay_inside_where_there_is_room():
    facts, sampler = facts_of((40, 30, 20)), Pairs(iou=(0.2, 0.9))
    for number in range(50):
        region = sampler.place(facts, (16, 12, 8), rng(2, number)).region
        assert min(region.start) >= 0
        assert all(a <= b for a, b in zip(region.stop, (40, 30, 20), strict=True))


def test_every_overlap_between_the_bounds_is_as_likely_and_every_direction_occurs():
    facts, sampler = facts_of((99, 99, 99)), Pairs(iou=(0.2, 0.8))
    places = [sampler.place(facts, (16, 16, 16), rng(3, number)) for number in range(800)]
    overlaps = [float(place.targets["iou"]) for place in places]
    counts = np.histogram(overlaps, bins=4, range=(0.2, 0.8))[0]
    assert counts.min() > 140
    signs = {tuple(np.sign(place.targets["relative_position"]).tolist()) for place in places}
    assert {(a, b, c) for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)} <= signs


def test_overlaps_that_no_offset_gives_are_refused():
    with pytest.raises(ConfigError, match="at no offset"):
        Pairs(iou=(0.9, 1.0), scale=(2.0, 2.0)).place(facts_of((99, 99, 99)), (16, 16, 16), rng(0))
    with pytest.raises(ConfigError, match="lower bound first"):
        Pairs(iou=(0.8, 0.2))


def test_boxes_that_do_not_touch_share_nothing():
    assert intersection_over_union(Box((0, 0), (4, 4)), Box((4, 0), (4, 4))) == 0
