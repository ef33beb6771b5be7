"""Maps of draws against counting voxel by voxel."""

import numpy as np

from medssl.report.places import count_draws, places_page
from medssl.sampling import Body, Corresponding, Grid, Uniform, VolumeFacts, rng

SHAPE, PATCH = (12, 10, 8), (6, 4, 3)


def facts_of(shape=SHAPE):
    cells = np.zeros([-(-n // 2) for n in shape], bool)
    cells[1:4, 1:4, 1:3] = True
    return VolumeFacts(shape, (1.0, 1.0, 2.0), cells, (2, 2, 2))


def test_counts_are_those_of_painting_every_crop():
    sampler = Grid(grid=(2, 2, 2), crops=2)
    covered, middles = count_draws(sampler, facts_of(), PATCH, draws=30, seed=4)
    expected = np.zeros(np.add(SHAPE, 40))
    found = np.zeros(np.add(SHAPE, 40))
    for number in range(30):
        place = sampler.place(facts_of(), PATCH, rng(4, number))
        for box in place.crops:
            start = np.add(box.start, place.region.start) + 20
            expected[tuple(slice(a, a + n) for a, n in zip(start, box.size, strict=True))] += 1
            found[tuple(start + np.array(box.size) // 2)] += 1
    inside = tuple(slice(20, 20 + n) for n in SHAPE)
    assert np.array_equal(covered, expected[inside])
    assert np.array_equal(middles, found[inside])


def test_cells_are_counted_where_a_crop_touches_them():
    sampler, cell = Uniform(), (3, 4, 3)
    covered, middles = count_draws(sampler, facts_of(), PATCH, draws=40, seed=1, cell=cell)
    assert covered.shape == middles.shape == (4, 3, 3)
    expected = np.zeros(covered.shape)
    for number in range(40):
        voxels = np.zeros(SHAPE)
        place = sampler.place(facts_of(), PATCH, rng(1, number))
        start = place.region.start
        voxels[tuple(slice(a, a + n) for a, n in zip(start, PATCH, strict=True))] = 1
        touched = {tuple(at // cell) for at in np.argwhere(voxels)}
        for at in touched:
            expected[at] += 1
    assert np.array_equal(covered, expected)
    assert middles.sum() == 40


def test_joint_samplers_are_counted_in_the_second_volume():
    covered, _ = count_draws(Corresponding(), facts_of(), PATCH, draws=5, partner=facts_of())
    assert covered.sum() == 5 * np.prod(PATCH)


def test_a_page_has_two_rows_of_pictures_for_each_sampler():
    image = np.random.default_rng(0).normal(size=SHAPE)
    chosen = {"Uniform": (Uniform(), PATCH, "Anywhere."), "Body": (Body(), PATCH, "")}
    text = places_page(image, facts_of(), chosen, draws=20).render()
    assert text.count("data:image/png") == 2 * 2 * 3
    assert "Anywhere." in text
    assert "20 places" in text
