"""Base crops, random crops and their overlaps, against counting voxels one by one."""

import numpy as np
import pytest

from medssl.sampling import Grid, VolumeFacts, rng
from medssl.sampling.position import body_coordinates
from medssl.types import Box


def facts_of(shape):
    cells = np.ones([-(-count // 4) for count in shape], bool)
    return VolumeFacts(shape, (1.0,) * len(shape), cells, (4,) * len(shape))


def counted_overlaps(place, grid):
    """The share of each random crop in each base, by painting base numbers into the region."""
    bases, drawn = place.crops[: np.prod(grid)], place.crops[np.prod(grid) :]
    painted = np.full(place.region.size, -1)
    for number, base in enumerate(bases):
        box = tuple(slice(a, b) for a, b in zip(base.start, base.stop, strict=True))
        assert (painted[box] == -1).all(), "two bases share a voxel"
        painted[box] = number
    assert (painted >= 0).all(), "the bases leave a gap"
    rows = []
    for crop in drawn:
        box = tuple(slice(a, b) for a, b in zip(crop.start, crop.stop, strict=True))
        rows.append(np.bincount(painted[box].ravel(), minlength=len(bases)) / painted[box].size)
    return np.array(rows)


@pytest.mark.parametrize(
    ("shape", "patch", "grid"),
    [
        ((90, 80, 40), (12, 10, 8), (3, 3, 1)),
        ((90, 80, 40), (12, 10, 8), (2, 3, 2)),
        ((20, 80, 6), (12, 10, 8), (3, 3, 2)),
        ((90, 80), (12, 10), (4, 2)),
    ],
)
def test_overlaps_agree_with_counted_voxels(shape, patch, grid):
    for number in range(8):
        place = Grid(grid=grid, crops=4).place(facts_of(shape), patch, rng(0, number))
        assert len(place.crops) == np.prod(grid) + 4
        overlap = place.targets["overlap"]
        assert overlap.dtype == np.float32
        assert np.allclose(overlap, counted_overlaps(place, grid), atol=1e-6)
        assert np.allclose(overlap.sum(axis=1), 1)


def test_planar_patches_take_the_first_two_numbers_of_a_grid():
    place = Grid(grid=(3, 2, 5)).place(facts_of((90, 80)), (12, 10), rng(0, 0))
    assert place.region.size == (36, 20)


def test_the_window_lies_inside_where_it_fits_and_around_the_volume_where_it_does_not():
    for number in range(20):
        region = Grid().place(facts_of((90, 30, 40)), (12, 12, 12), rng(1, number)).region
        assert 0 <= region.start[0] <= 90 - 36
        assert region.start[1] == -3
        assert 0 <= region.start[2] <= 40 - 12


def test_the_window_follows_the_body():
    cells = np.zeros((30, 30, 30), bool)
    cells[20:28, 4:8, 15:20] = True
    facts = VolumeFacts((120, 120, 120), (1.0,) * 3, cells, (4, 4, 4))
    for number in range(20):
        region = Grid(grid=(2, 2, 1)).place(facts, (12, 12, 12), rng(0, number)).region
        middle = np.add(region.start, np.divide(region.size, 2))
        assert (middle >= np.array([80, 16, 60]) - 1).all()
        assert (middle <= np.array([112, 32, 80]) + 1).all()


def test_base_positions_are_coordinates_of_the_body():
    facts = facts_of((90, 80, 40))
    place = Grid().place(facts, (12, 10, 8), rng(0, 3))
    positions = place.targets["base_position"]
    assert positions.shape == (9, 3)
    for base, position in zip(place.crops, positions, strict=False):
        centre = np.add(place.region.start, base.start) + np.divide(base.size, 2)
        assert np.allclose(position, centre / (90, 80, 40))


def test_body_coordinates_start_at_the_body():
    cells = np.zeros((10, 10), bool)
    cells[2:7, 5:9] = True
    facts = VolumeFacts((40, 38), (1.0, 1.0), cells, (4, 4))
    assert facts.body == Box((8, 20), (20, 16))
    assert body_coordinates(facts, Box((8, 20), (20, 16))).tolist() == [0.5, 0.5]
    assert body_coordinates(facts, Box((0, 34), (16, 4))).tolist() == [0.0, 1.0]


def test_an_empty_grid_is_refused():
    with pytest.raises(ValueError, match="empty"):
        Grid(grid=(3, 0, 1))
