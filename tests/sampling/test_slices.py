"""Slices along any axis, slabs, neighbours as channels, and where slices lie in the body."""

import numpy as np
import pytest

from medssl.errors import ConfigError
from medssl.sampling import Body, SlicePosition, Slices, Uniform, VolumeFacts, rng
from medssl.sampling.cut import cut_images, cut_labels

SHAPE, SPACING = (40, 36, 20), (1.0, 1.0, 4.0)
DATA = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)


def facts_of(shape=SHAPE, spacing=SPACING):
    cells = np.ones([-(-count // 4) for count in shape], bool)
    return VolumeFacts(shape, spacing[: len(shape)], cells, (4,) * len(shape))


def read(start, size):
    assert min(start) >= 0
    box = tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))
    return DATA[box][None]


def images_of(sampler, number, patch=(8, 6)):
    place = sampler.place(facts_of(), patch, rng(0, number))
    return place, cut_images(read, facts_of(), place, patch)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_along_any_axis_keep_the_order_of_the_other_axes(axis):
    for number in range(10):
        place, images = images_of(Slices(Uniform(crops=2), axis=axis), number)
        assert images.shape == (2, 1, 8, 6)
        box = place.crops[1]
        start = np.add(place.region.start, box.start)
        expected = DATA[tuple(slice(a, a + n) for a, n in zip(start, box.size, strict=True))]
        assert np.array_equal(images[1, 0], expected.squeeze(axis))


def test_of_several_axes_each_is_drawn_as_often():
    axes = [images_of(Slices(Uniform(), axis=(0, 1, 2)), n)[0].planar.axis for n in range(300)]
    assert min(np.bincount(axes, minlength=3)) > 75


def test_a_thick_slab_is_a_mean_of_its_millimetres():
    place, images = images_of(Slices(Uniform(), axis=2, slab_mm=12.0), 3)
    assert place.region.size == (8, 6, 3)
    assert np.allclose(images[0, 0], read(place.region.start, place.region.size)[0].mean(axis=2))
    assert images_of(Slices(Uniform(), axis=0, slab_mm=12.0), 3)[0].region.size == (12, 8, 6)


@pytest.mark.parametrize(("gap_mm", "step"), [(None, 1), (8.0, 2)])
def test_neighbours_become_channels_and_the_last_slice_is_repeated(gap_mm, step):
    seen = set()
    for number in range(120):
        place, images = images_of(Slices(Uniform(), channels=3, gap_mm=gap_mm), number)
        x, y, low = place.region.start
        middle = low + step
        seen.add(middle)
        assert images.shape == (1, 3, 8, 6)
        for channel, away in enumerate((-step, 0, step)):
            slice_number = min(max(middle + away, 0), SHAPE[2] - 1)
            assert np.array_equal(images[0, channel], DATA[x : x + 8, y : y + 6, slice_number])
    assert seen == set(range(SHAPE[2]))


def test_pixels_of_one_size_are_read_from_voxels_that_are_oblong():
    place, images = images_of(Slices(Uniform(), axis=0, pixel_mm=2.0), 0)
    assert place.region.size == (1, 16, 3)
    assert images.shape == (1, 1, 8, 6)
    along_y = np.diff(images[0, 0], axis=0)
    assert np.allclose(along_y, 2 * SHAPE[2], rtol=1e-4)


def test_masks_follow_the_middle_slice():
    sampler = Slices(Uniform(), channels=3)
    place, images = images_of(sampler, 5)

    def read_label(start, size):
        return read(start, size)[0].astype(int)

    masks = cut_labels(read_label, facts_of(), place, (8, 6))
    assert np.array_equal(masks[0], images[0, 1].astype(int))


def test_planar_images_stay_planar():
    place = Slices(Body(), axis=(0, 1)).place(facts_of((40, 36)), (8, 6), rng(0, 0))
    assert place.planar is None
    assert place.region.size == (8, 6)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"axis": 3}, "axis"),
        ({"axis": ()}, "axis"),
        ({"channels": 0}, "channels"),
        ({"channels": 3, "slab_mm": 5.0}, "slab"),
    ],
)
def test_slices_that_do_not_exist_are_refused(options, match):
    with pytest.raises(ConfigError, match=match):
        Slices(Uniform(), **options)


def half_filled():
    cells = np.zeros((10, 9, 5), bool)
    cells[2:8, 2:7, 1:4] = True
    return VolumeFacts(SHAPE, SPACING, cells, (4, 4, 4))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_positions_go_through_the_body_and_partitions_are_drawn_evenly(axis):
    facts = half_filled()
    sampler = Slices(SlicePosition(partitions=4), axis=axis)
    parts = []
    for number in range(200):
        place = sampler.place(facts, (8, 6), rng(0, number))
        index = place.region.start[axis]
        begin, length = facts.body.start[axis], facts.body.size[axis]
        (position,), (part,) = place.targets["position"], place.targets["partition"]
        assert begin <= index < begin + length
        assert position == pytest.approx((index + 0.5 - begin) / length)
        assert part == int(4 * position)
        parts.append(part)
    assert min(np.bincount(parts, minlength=4)) > 30


def test_one_slice_of_every_part_is_cut_from_one_region():
    place, images = images_of(Slices(SlicePosition(partitions=4, every=True)), 1)
    assert place.targets["partition"].tolist() == [0, 1, 2, 3]
    assert images.shape == (4, 1, 8, 6)
    assert len({crop.start[:2] for crop in place.crops}) == 1


def test_slice_positions_of_planar_images_are_refused():
    with pytest.raises(ConfigError, match="one slice"):
        SlicePosition().place(facts_of((40, 36)), (8, 6), rng(0, 0))
