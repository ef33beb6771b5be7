"""What every sampler promises, and what uniform crops promise beyond it."""

import numpy as np
import pytest

from medssl.sampling import (
    Body,
    Grid,
    LabelBalanced,
    Pairs,
    PartWhole,
    Slices,
    Tissue,
    Uniform,
    VolumeFacts,
    rng,
)
from medssl.sampling.places import around
from medssl.types import Box

SAMPLERS = {
    "uniform": Uniform(),
    "uniform_several": Uniform(crops=3),
    "body": Body(),
    "body_several": Body(crops=4, spread=0.5),
    "grid": Grid(grid=(2, 2, 2), crops=3),
    "balanced": LabelBalanced(),
    "tissue": Tissue(crops=2),
    "pairs": Pairs(),
    "scaled_pairs": Pairs(iou=(0.1, 0.5), scale=(0.7, 1.4)),
    "part_whole": PartWhole(),
}
OF_SEVERAL_SIZES = ("scaled_pairs", "part_whole")
MAY_LEAVE = ("grid", *OF_SEVERAL_SIZES)


def facts_of(shape=(40, 50, 30), cell=4) -> VolumeFacts:
    cells = np.zeros([-(-count // cell) for count in shape], bool)
    cells[tuple(slice(1, -2) for _ in shape)] = True
    voxels = {2: np.array([[20, 30, 10], [1, 1, 1]])[:, : len(shape)].astype(np.int32)}
    return VolumeFacts(
        shape,
        (1.0,) * len(shape),
        cells,
        (cell,) * len(shape),
        voxels,
        tissue=cells.astype(np.uint8) * 2,
        tissue_names=("fat", "bone"),
    )


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize(
    ("shape", "patch"),
    [((40, 50, 30), (16, 12, 8)), ((40, 50, 6), (16, 12, 8)), ((40, 50), (16, 24))],
)
def test_a_place_is_one_region_with_crops_inside_it(name, shape, patch):
    facts = facts_of(shape)
    for number in range(20):
        place = SAMPLERS[name].place(facts, patch, rng(0, number))
        assert all(isinstance(edge, int) for edge in (*place.region.start, *place.region.size))
        for crop in place.crops:
            assert crop.size == patch or name in OF_SEVERAL_SIZES
            assert min(crop.start) >= 0
            assert all(a <= b for a, b in zip(crop.stop, place.region.size, strict=True))
        again = SAMPLERS[name].place(facts, patch, rng(0, number))
        assert (again.region, again.crops) == (place.region, place.crops)
        assert all(
            np.array_equal(again.targets[key], value) for key, value in place.targets.items()
        )


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name not in MAY_LEAVE])
def test_crops_stay_inside_a_volume_that_is_large_enough(name):
    facts, patch = facts_of(), (16, 12, 8)
    for number in range(50):
        region = SAMPLERS[name].place(facts, patch, rng(1, number)).region
        assert min(region.start) >= 0
        assert all(a <= b for a, b in zip(region.stop, facts.shape, strict=True))


def test_an_axis_that_is_too_short_is_centred_as_prediction_centres_it():
    place = Uniform().place(facts_of((40, 50, 5)), (16, 12, 8), rng(0, 0))
    assert place.region.start[2] == -2
    assert place.region.size == (16, 12, 8)


def test_uniform_reaches_every_position_equally_often():
    facts = facts_of((9, 50, 30))
    starts = [Uniform().place(facts, (6, 6, 6), rng(2, n)).region.start[0] for n in range(2000)]
    counts = np.bincount(starts, minlength=4)
    assert counts.size == 4
    assert counts.min() > 430


def test_crops_of_one_place_lie_near_the_first():
    facts, patch = facts_of((200, 200, 200)), (16, 16, 16)
    for number in range(50):
        place = Uniform(crops=5, spread=0.5).place(facts, patch, rng(3, number))
        starts = np.array([crop.start for crop in place.crops])
        assert np.abs(starts - starts[0]).max() <= 8


def test_a_box_around_a_point_is_moved_inside():
    assert around((0, 9), (4, 4), (10, 10)) == Box((0, 6), (4, 4))
    assert around((5, 5), (4, 12), (10, 10)) == Box((3, -1), (4, 12))


def test_slices_are_one_voxel_thick_and_planar_images_stay_planar():
    sampler = Slices(LabelBalanced(foreground=1.0))
    place = sampler.place(facts_of(), (16, 12), rng(0, 0))
    assert place.region.size == (16, 12, 1)
    assert place.region.start[2] in (1, 10)
    assert sampler.place(facts_of((40, 50)), (16, 12), rng(0, 0)).region.size == (16, 12)
    with pytest.raises(ValueError, match="two numbers"):
        sampler.place(facts_of(), (16, 12, 4), rng(0, 0))
