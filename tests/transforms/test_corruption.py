import itertools

import pytest
import torch

from medssl.errors import ConfigError
from medssl.transforms.base import Transform
from medssl.transforms.compose import Compose, OneOf
from medssl.transforms.corruption import CutMix, CutOut, InPaint, LocalShuffle, OutPaint
from medssl.transforms.draws import noise_like
from medssl.transforms.intensity import Brightness
from medssl.transforms.spatial import Flip

PAINTS = [CutOut(value=-0.3), InPaint(), OutPaint(), CutMix()]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=[(6, 2, 21, 18, 13), (6, 2, 21, 18)], ids=["3d", "2d"])
def images(request):
    return torch.rand(request.param, generator=generator()) * 2 - 1


def name(transform: Transform) -> str:
    return type(transform).__name__


@pytest.mark.parametrize("transform", PAINTS, ids=name)
def test_boxes_are_where_a_loop_puts_them(transform, images):
    params = transform.draw(images.shape, generator())
    expected = torch.zeros(len(images), 1, *images.shape[2:], dtype=torch.bool)
    for number in range(len(images)):
        for start, stop in zip(params["start"][number], params["stop"][number], strict=True):
            box = tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
            expected[(number, 0, *box)] = True
    if isinstance(transform, OutPaint):
        expected = ~expected
    assert torch.equal(transform.mask(images.shape, params), expected)
    changed = (transform.apply(images, params) != images).all(dim=1, keepdim=True)
    assert torch.equal(changed, expected)
    assert 0 < expected.float().mean() < 1


@pytest.mark.parametrize("transform", [CutOut(count=(2, 4)), OutPaint(count=(2, 4))], ids=name)
def test_number_and_edges_of_boxes_are_as_asked(transform):
    params = transform.draw((500, 1, 60, 48, 36), generator())
    edges = params["stop"] - params["start"]
    sizes = torch.tensor([60, 48, 36])
    used = (edges > 0).all(dim=2)
    assert set(used.sum(dim=1).tolist()) == {2, 3, 4}
    low, high = transform.edge
    assert (edges[used] >= (low * sizes).round()).all()
    assert (edges[used] <= (high * sizes).round()).all()
    assert params["start"].min() == 0
    assert (params["stop"].amax(dim=(0, 1)) == sizes).all()


def test_cut_out_writes_its_value_and_nothing_else(images):
    transform = CutOut(value=-0.3)
    params = transform.draw(images.shape, generator())
    hidden = transform.mask(images.shape, params).expand_as(images)
    changed = transform.apply(images, params)
    assert (changed[hidden] == -0.3).all()
    assert torch.equal(changed[~hidden], images[~hidden])


@pytest.mark.parametrize("transform", [InPaint(), OutPaint()], ids=name)
def test_painted_noise_is_even_over_the_range_of_its_channel(transform):
    images = torch.rand(4, 2, 40, 40, 20, generator=generator()) * torch.tensor([1.0, 5.0]).view(
        1, 2, 1, 1, 1
    )
    params = transform.draw(images.shape, generator())
    changed, mask = transform.apply(images, params), transform.mask(images.shape, params)
    for channel, highest in ((0, 1.0), (1, 5.0)):
        noise = changed[:, channel][mask[:, 0]] / highest
        quartiles = noise.quantile(torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]))
        torch.testing.assert_close(quartiles, torch.linspace(0, 1, 5), atol=0.03, rtol=0)


def test_boxes_are_swapped_with_another_image_of_the_batch(images):
    transform = CutMix(p=0.7)
    params = transform.draw(images.shape, generator(1))
    mask, mixed = transform.mask(images.shape, params), transform.apply(images, params)
    assert 0 < params["active"].sum() < len(images)
    for number, partner in enumerate(params["partner"].tolist()):
        assert partner != number
        expected = torch.where(mask[number], images[partner], images[number])
        assert torch.equal(mixed[number], expected)


def test_an_image_without_company_keeps_its_own():
    image = torch.rand(1, 1, 8, 8)
    assert torch.equal(CutMix()(image, generator()), image)


def test_parameters_of_a_part_of_a_batch_have_lost_their_partners(images):
    transform = CutMix()
    params = transform.draw(images.shape, generator())
    with pytest.raises(ValueError, match="for the batch they are applied to"):
        transform.apply(
            images[:2], {k: v[:2] for k, v in params.items()} | {"partner": torch.tensor([1, 5])}
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [({"count": (0, 3)}, "1 or more boxes"), ({"edge": (-0.1, 0.3)}, "from 0 to 1")],
)
def test_boxes_that_can_not_be_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        CutOut(**options)


def block_slices(params, number, dims):
    """The blocks of an image, as its grid is drawn, with whether they are shuffled."""
    lines = []
    for axis in range(dims):
        block = params[f"block.{axis}"][number].tolist()
        lines.append([[i for i, b in enumerate(block) if b == k] for k in range(max(block) + 1)])
    for at in itertools.product(*[range(len(line)) for line in lines]):
        slices = tuple(
            slice(line[k][0], line[k][-1] + 1) for line, k in zip(lines, at, strict=True)
        )
        yield slices, bool(params["chosen"][(number, *at)])


def test_shuffling_is_that_of_a_loop_over_blocks(images):
    transform = LocalShuffle(edge=0.25, share=0.7)
    params = transform.draw(images.shape, generator(2))
    fast = transform.apply(images, params)
    mask = transform.mask(images.shape, params)
    voxels = images[0, 0].numel()
    random = noise_like(
        torch.zeros(len(images), voxels, dtype=torch.long), params["seed"], "integer"
    )
    moved = 0
    for number, image in enumerate(images):
        slow = image.clone()
        keys = random[number].view(image.shape[1:])
        for block, shuffled in block_slices(params, number, image.ndim - 1):
            here = image[(slice(None), *block)]
            assert (mask[(number, 0, *block)] == shuffled).all()
            if shuffled:
                order = keys[block].flatten().argsort()
                slow[(slice(None), *block)] = here.flatten(1)[:, order].view_as(here)
                moved += here[0].numel()
        assert torch.equal(fast[number], slow)
    assert moved / (len(images) * voxels) == pytest.approx(0.7, abs=0.15)


def test_blocks_are_no_longer_than_asked_and_of_many_lengths():
    transform = LocalShuffle(edge=0.1)
    params = transform.draw((50, 1, 60, 60, 30), generator())
    for axis, longest in enumerate((6, 6, 3)):
        lengths = torch.cat([row.bincount() for row in params[f"block.{axis}"]])
        lengths = lengths[lengths > 0]
        assert set(lengths.tolist()) == set(range(1, longest + 1))


def test_shuffling_moves_no_voxel_far_and_loses_none(images):
    transform = LocalShuffle(edge=0.2)
    shuffled = transform(images, generator())
    assert torch.equal(shuffled.flatten(2).sort(dim=2)[0], images.flatten(2).sort(dim=2)[0])
    place = torch.arange(40.0).view(1, 1, 40, 1).expand(2, 1, 40, 10).contiguous()
    distance = (LocalShuffle(edge=0.2)(place, generator()) - place).abs()
    assert 3 < distance.max() <= 7


def test_the_mask_of_a_composition_is_that_of_its_members_moved_along(images):
    steps = Compose(
        (CutOut(p=0.6), Brightness(), Flip(axes=(0,)), LocalShuffle(edge=0.3, share=0.1))
    )
    params = steps.draw(images.shape, generator(1))
    quiet = {k: torch.zeros_like(v) if k == "1.shift" else v for k, v in params.items()}
    changed = (
        steps.apply(images, quiet)
        != Flip(axes=(0,)).apply(
            images, {"active": params["2.active"], "mirrored": params["2.mirrored"]}
        )
    ).any(dim=1, keepdim=True)
    mask = steps.mask(images.shape, params)
    # A voxel that is shuffled may stay where it is.
    assert not (changed & ~mask).any()
    assert (changed & mask).sum() > 0.9 * mask.sum()


def test_one_of_two_paints_hides_what_that_one_hides(images):
    choice = OneOf((InPaint(), OutPaint()), weights=(1.0, 1.0), p=0.8)
    params = choice.draw(images.shape, generator())
    changed = (choice.apply(images, params) != images).any(dim=1, keepdim=True)
    assert torch.equal(changed, choice.mask(images.shape, params))
