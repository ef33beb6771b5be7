import itertools

import pytest
import torch

from medssl.errors import ConfigError
from medssl.transforms.compose import Compose
from medssl.transforms.crop import CentreCrop, CropResize
from medssl.transforms.intensity import Brightness


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def fixed(transform, shape, start, edge):
    params = transform.draw(shape, generator())
    return {
        "active": torch.ones(shape[0], dtype=torch.bool),
        "start": torch.tensor(start).expand_as(params["start"]),
        "edge": torch.tensor(edge).expand_as(params["edge"]),
    }


@pytest.mark.parametrize("shape", [(4000, 1, 8, 6, 4), (4000, 1, 8, 6)], ids=["3d", "2d"])
def test_boxes_keep_to_share_and_aspect_and_stay_inside(shape):
    transform = CropResize(scale=(0.2, 0.9), aspect=1.5)
    start, edge = transform.boxes(transform.draw(shape, generator()))
    share = edge.prod(dim=1)
    assert 0.2 - 1e-5 < share.min() < 0.22
    assert 0.88 < share.max() < 0.9 + 1e-5
    assert (share < 0.55).float().mean() == pytest.approx(0.5, abs=0.03)
    assert 1.4 < (edge.amax(1) / edge.amin(1)).max() <= 1.5 + 1e-4
    assert start.min() >= 0
    assert (start + edge).max() <= 1 + 1e-6
    # Places are even over what is free.
    free = edge < 0.99
    assert (start / (1 - edge))[free].mean() == pytest.approx(0.5, abs=0.02)


def test_the_axis_across_thick_slices_is_cut_by_itself():
    transform = CropResize(scale=(0.48, 1.0), aspect=1.11, through_axis=2, through_scale=(0.5, 0.6))
    _, edge = transform.boxes(transform.draw((2000, 1, 8, 8, 4), generator()))
    assert edge[:, 2].min() >= 0.5
    assert edge[:, 2].max() <= 0.6
    assert edge[:, :2].prod(dim=1).min() == pytest.approx(0.48, abs=0.01)
    assert (edge[:, 0] / edge[:, 1]).max() <= 1.11 + 1e-4


def test_a_crop_of_the_same_size_is_a_linear_interpolation_voxel_by_voxel():
    image = torch.rand(1, 2, 6, 5, 4, generator=generator())
    transform = CropResize()
    start, edge = [0.21, 0.05, 0.33], [0.6, 0.9, 0.5]
    seen = transform.apply(image, fixed(transform, image.shape, start, edge))
    for voxel in itertools.product(range(6), range(5), range(4)):
        total = torch.zeros(2)
        source = [
            min(max((s + (v + 0.5) / n * e) * n - 0.5, 0), n - 1)
            for v, n, s, e in zip(voxel, (6, 5, 4), start, edge, strict=True)
        ]
        for corner in itertools.product((0, 1), repeat=3):
            low = [min(int(p), n - 2) for p, n in zip(source, (6, 5, 4), strict=True)]
            weight = 1.0
            for p, a, c in zip(source, low, corner, strict=True):
                weight *= (p - a) if c else 1 - (p - a)
            at = [a + c for a, c in zip(low, corner, strict=True)]
            total += weight * image[0, :, at[0], at[1], at[2]]
        torch.testing.assert_close(seen[0, :, voxel[0], voxel[1], voxel[2]], total)


def test_becoming_smaller_averages_and_does_not_pick():
    stripes = torch.tensor([0.0, 1.0]).repeat(16).view(1, 1, 32, 1).expand(1, 1, 32, 4)
    transform = CropResize(scale=(1.0, 1.0), size=(8, 4))
    smaller = transform(stripes.contiguous(), generator())
    torch.testing.assert_close(smaller[0, 0, 1:-1], torch.full((6, 4), 0.5), atol=0.02, rtol=0)


def test_a_ramp_stays_a_ramp_at_any_size():
    ramp = torch.arange(40.0).view(1, 1, 40, 1).expand(1, 1, 40, 4).contiguous()
    for out in (7, 20, 33, 40, 61):
        seen = CropResize(scale=(1.0, 1.0), size=(out, 4))(ramp, generator())[0, 0, :, 0]
        expected = (torch.arange(out) + 0.5) * 40 / out - 0.5
        inner = slice(out // 7 + 1, -out // 7 - 1)
        torch.testing.assert_close(seen[inner], expected[inner], atol=1e-4, rtol=0)


def test_sizes_may_grow_shrink_and_differ_from_axis_to_axis():
    ramp = torch.arange(16.0).view(1, 1, 16, 1, 1).expand(2, 1, 16, 8, 4).contiguous()
    transform = CropResize(size=(32, 4, 6))
    seen = transform.apply(ramp, fixed(transform, ramp.shape, [0.25] * 3, [0.5] * 3))
    assert seen.shape == (2, 1, 32, 4, 6)
    expected = 4 + (torch.arange(32.0) + 0.5) / 4 - 0.5
    torch.testing.assert_close(seen[0, 0, :, 0, 0], expected)


def test_a_label_is_cut_where_its_image_is_and_never_mixed():
    label = torch.randint(0, 9, (3, 1, 12, 10, 8), generator=generator())
    transform = CropResize(size=(7, 9, 8))
    params = transform.draw(label.shape, generator())
    moved = transform.apply_label(label, params)
    start, edge = transform.boxes(params)
    for number, voxel in itertools.product(range(3), itertools.product(*map(range, (7, 9, 8)))):
        source = [
            int((start[number, a] + (v + 0.5) / n * edge[number, a]) * m)
            for a, (v, n, m) in enumerate(zip(voxel, (7, 9, 8), (12, 10, 8), strict=True))
        ]
        assert moved[(number, 0, *voxel)] == label[(number, 0, *source)]


def test_images_that_are_not_chosen_are_resized_as_a_whole():
    images = torch.rand(40, 1, 8, 8, generator=generator())
    transform = CropResize(scale=(0.3, 0.5), size=(4, 4), p=0.5)
    params = transform.draw(images.shape, generator())
    seen = transform.apply(images, params)
    whole = CropResize(scale=(1.0, 1.0), size=(4, 4))(images, generator())
    idle = ~params["active"]
    assert seen.shape == (40, 1, 4, 4)
    assert 5 < idle.sum() < 35
    assert torch.equal(seen[idle], whole[idle])
    assert not torch.allclose(seen[~idle], whole[~idle])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": (0.5, 1.5)}, "shares end at 1"),
        ({"aspect": 0.5}, "at least 1"),
        ({"size": (4, 4)}, "have 3 axes"),
        ({"size": (4, 4, 0)}, "at least 1"),
        ({"through_axis": 3}, "through_axis was 3"),
    ],
)
def test_what_can_not_be_cut_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        CropResize(**options)(torch.zeros(1, 1, 8, 8, 8), generator())


def test_slices_have_no_axis_across_them():
    with pytest.raises(ConfigError, match="have 2 axes"):
        CropResize(through_axis=1)(torch.zeros(1, 1, 8, 8), generator())


def test_the_middle_is_kept():
    image = torch.arange(7.0 * 6).view(1, 1, 7, 6)
    crop = CentreCrop(size=(3, 2))
    assert torch.equal(crop(image, generator()), image[:, :, 2:5, 2:4])
    assert crop.scaled(0.5) == crop
    with pytest.raises(ConfigError, match=r"these images are \(7, 6\)"):
        CentreCrop(size=(8, 2))(image, generator())


def test_members_after_a_crop_are_drawn_for_its_size():
    steps = Compose((CropResize(size=(4, 6, 8)), Brightness(), CentreCrop(size=(2, 2, 2))))
    assert steps.out_shape((3, 1, 9, 9, 9)) == (3, 1, 2, 2, 2)
    image, label = steps(
        torch.rand(3, 1, 9, 9, 9), generator(), label=torch.ones(3, 1, 9, 9, 9, dtype=torch.long)
    )
    assert image.shape == label.shape == (3, 1, 2, 2, 2)


@pytest.mark.parametrize(
    "many", [CentreCrop(size=(4, 4), p=0.5), Compose((CentreCrop(size=(4, 4)),), p=0.5)]
)
def test_changing_size_for_some_images_only_is_refused(many):
    with pytest.raises(ConfigError, match="set p to 1"):
        many(torch.zeros(30, 1, 8, 8), generator())
