"""How much of a box is body: lookups against counting voxels, and where boxes hold enough."""

import numpy as np
import pytest

from medssl.sampling import VolumeFacts, rng
from medssl.sampling.body import spread_cells
from medssl.sampling.share import (
    body_share,
    body_shares,
    fullest_boxes,
    holds_share,
    random_body_voxel,
    start_range,
)
from medssl.types import Box


def random_facts(number: int, ndim: int = 3) -> tuple[VolumeFacts, np.ndarray]:
    """Cells that do not divide the shape, filled by chance, and the same as voxels."""
    chance = np.random.default_rng(number)
    shape = tuple(int(n) for n in chance.integers(7, 22, ndim))
    cell = tuple(int(n) for n in chance.integers(1, 6, ndim))
    cells = chance.random([-(-n // edge) for n, edge in zip(shape, cell, strict=True)]) < 0.4
    return VolumeFacts(shape, (1.0,) * ndim, cells, cell), spread_cells(cells, cell, shape)


def counted(voxels: np.ndarray, start, size) -> float:
    padded = np.pad(voxels, 40)
    box = tuple(slice(a + 40, a + 40 + b) for a, b in zip(start, size, strict=True))
    return float(padded[box].mean())


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("number", range(8))
def test_shares_agree_with_counted_voxels(number, ndim):
    facts, voxels = random_facts(number, ndim)
    chance = np.random.default_rng(100 + number)
    size = tuple(int(n) for n in chance.integers(1, 15, ndim))
    starts = chance.integers(-8, 20, (12, ndim))
    expected = [counted(voxels, start, size) for start in starts.tolist()]
    assert body_shares(facts, starts, size) == pytest.approx(expected, abs=1e-9)
    for start, share in zip(starts.tolist(), expected, strict=True):
        assert body_share(facts, Box(tuple(start), size)) == pytest.approx(share, abs=1e-9)
        for wanted in (0.0, 0.3, 0.5, share, share + 1e-6):
            assert holds_share(facts, tuple(start), size, wanted) == (share >= wanted - 1e-9)


@pytest.mark.parametrize("number", range(6))
def test_the_fullest_box_is_the_fullest_of_all_and_none_beyond_the_range_holds_the_share(number):
    facts, voxels = random_facts(number, 2)
    size = (5, 4)
    whole = start_range(facts, size, 0.0)
    every = {
        (x, y): counted(voxels, (x, y), size)
        for x in range(whole[0][0], whole[0][1] + 1)
        for y in range(whole[1][0], whole[1][1] + 1)
    }
    best = max(every.values())
    starts, held = fullest_boxes(facts, size, 1.0)
    shares = [every[tuple(start)] for start in starts.tolist()]
    assert max(shares) == pytest.approx(best, abs=1e-6)
    assert min(shares) >= held >= 0.9 * best - 1e-4
    wanted = 0.6
    if best >= wanted:
        ranges = start_range(facts, size, wanted)
        for start, share in every.items():
            inside = all(a <= s <= b for s, (a, b) in zip(start, ranges, strict=True))
            assert inside or share < wanted


def test_body_voxels_are_drawn_evenly():
    facts, _ = random_facts(3, 2)
    counts = np.zeros(facts.occupancy.shape)
    for number in range(4000):
        voxel = random_body_voxel(facts, rng(0, number))
        assert all(0 <= v < n for v, n in zip(voxel, facts.shape, strict=True))
        counts[tuple(np.floor_divide(voxel, facts.cell))] += 1
    assert (counts[~facts.occupancy] == 0).all()
    drawn = counts[facts.occupancy] / 4000
    assert np.abs(drawn * drawn.size - 1).max() < 0.5


def test_without_body_any_voxel_is_drawn():
    facts = VolumeFacts((9, 9), (1.0, 1.0), np.zeros((3, 3), bool), (3, 3))
    drawn = {random_body_voxel(facts, rng(0, number)) for number in range(400)}
    assert len(drawn) > 70
