"""What counts as body, and crops that hold enough of it."""

import numpy as np
import pytest

from medssl.sampling import Body, Uniform, VolumeFacts, rng
from medssl.sampling.body import block_mean, cell_of, occupancy, spread_cells
from medssl.sampling.share import body_share
from medssl.types import Box


def thorax(shape=(64, 64, 40)):
    """A body of soft tissue with two lungs, on a thin table, in air; and which voxels are body."""
    x, y = np.meshgrid(np.arange(shape[0]) - 32, np.arange(shape[1]) - 34, indexing="ij")
    body = np.repeat(((x / 22) ** 2 + (y / 16) ** 2 < 1)[..., None], shape[2], axis=2)
    hu = np.where(body, 40.0, -1000.0)
    lungs = np.hypot(np.abs(x) - 10, y) < 7
    hu[lungs] = -850.0
    hu[4:60, 4:8] = 200.0
    return (hu + np.random.default_rng(0).normal(0, 10, shape)).astype(np.int16), body


def facts_with(cells, cell=4, shape=None):
    shape = shape or tuple(count * cell for count in cells.shape)
    return VolumeFacts(shape, (1.0,) * 3, cells, (cell,) * 3)


def agreement(cells, body, cell):
    found = spread_cells(cells, cell, body.shape)
    return 2 * (found & body).sum() / (found.sum() + body.sum())


def test_ct_body_holds_the_lungs_and_not_the_table():
    hu, body = thorax()
    cells = occupancy(hu, "ct", (4, 4, 4))
    assert agreement(cells, body, (4, 4, 4)) > 0.9
    assert not cells[2:14, 1].any()
    assert cells[5, 8, 5]


def test_mr_body_is_found_without_units():
    hu, body = thorax()
    mr = np.where(body, 300.0 + 0.2 * hu, 8.0)
    mr = np.abs(mr + np.random.default_rng(1).normal(0, 6, mr.shape))
    assert agreement(occupancy(mr, "mr", (4, 4, 4)), body, (4, 4, 4)) > 0.85


def test_a_crop_from_within_the_head_is_all_body():
    tissue = np.random.default_rng(0).normal(100, 20, (35, 51, 35))
    tissue[10:20, 10:30, 10:20] += 60
    assert occupancy(tissue, "mr", (4, 4, 4)).all()


@pytest.mark.parametrize("value", [0, -1000, 57])
@pytest.mark.parametrize("modality", ["ct", "mr"])
def test_a_constant_image_is_all_body(value, modality):
    assert occupancy(np.full((8, 8, 8), value, np.int16), modality, (4, 4, 4)).all()


def test_planar_images_have_a_body_too():
    image = np.zeros((64, 64))
    image[16:48, 8:56] = 100.0
    cells = occupancy(image, "xr", (4, 4))
    assert cells.shape == (16, 16)
    assert cells.sum() == 8 * 12


def test_cells_are_means_also_at_the_far_end():
    data = np.random.default_rng(0).normal(size=(10, 7, 5))
    cells = block_mean(data, (4, 3, 2))
    assert cells.shape == (3, 3, 3)
    assert cells[2, 2, 2] == pytest.approx(data[8:, 6:, 4:].mean(), rel=1e-5)
    assert cells[0, 1, 1] == pytest.approx(data[:4, 3:6, 2:4].mean(), rel=1e-5)


def test_a_large_volume_has_few_cells():
    cell = cell_of((2048, 512, 700), (0.1, 0.7, 1.0))
    assert cell == (40, 8, 11)


@pytest.mark.parametrize("number", range(12))
def test_share_agrees_with_counting_voxels(number):
    chance = np.random.default_rng(number)
    shape = (18, 13, 11)
    cells = chance.random([-(-count // 4) for count in shape]) < 0.5
    facts = facts_with(cells, shape=shape)
    start, size = chance.integers(-6, 16, 3), chance.integers(1, 14, 3)
    voxels = np.pad(spread_cells(cells, (4, 4, 4), shape), 32)
    box = tuple(slice(a + 32, a + 32 + b) for a, b in zip(start, size, strict=True))
    share = body_share(facts, Box(tuple(start.tolist()), tuple(size.tolist())))
    assert share == pytest.approx(voxels[box].mean())


def test_body_crops_hold_the_share_that_was_asked_for():
    cells = np.zeros((30, 30, 30), bool)
    cells[12:20, 3:20, 10:25] = True
    facts, patch = facts_with(cells), (32, 32, 32)

    def shares(sampler):
        places = [sampler.place(facts, patch, rng(0, number)) for number in range(200)]
        return np.array([body_share(facts, place.region) for place in places])

    assert shares(Body(share=0.5)).min() >= 0.5
    assert (shares(Uniform()) < 0.5).mean() > 0.5


def test_body_crops_are_spread_over_all_valid_positions():
    cells = np.zeros((30, 30, 30), bool)
    cells[5:25] = True
    facts = facts_with(cells)
    starts = [Body().place(facts, (32, 32, 32), rng(1, n)).region.start[1] for n in range(600)]
    counts = np.histogram(starts, bins=4, range=(0, 88))[0]
    assert counts.min() > 100


def test_a_body_too_thin_for_the_share_gives_the_fullest_crop():
    cells = np.zeros((30, 30, 30), bool)
    cells[20, 20, 20] = True
    facts = facts_with(cells)
    places = [Body(share=0.9).place(facts, (16, 16, 16), rng(0, number)) for number in range(20)]
    assert min(body_share(facts, place.region) for place in places) == pytest.approx(1 / 64)


def test_without_any_body_there_is_a_crop_still():
    facts = facts_with(np.zeros((8, 8, 8), bool))
    assert Body().place(facts, (16, 16, 16), rng(0, 0)).region.size == (16, 16, 16)
