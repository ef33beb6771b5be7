import pytest
import torch

from medssl.errors import ConfigError
from medssl.transforms.compose import Compose, OneOf
from medssl.transforms.crop import CentreCrop, CropResize
from medssl.transforms.frames import align, overlap, relation
from medssl.transforms.intensity import Noise
from medssl.transforms.spatial import Flip, Rotate90
from medssl.transforms.views import ViewRecipe
from medssl.transforms.warp import Affine, Elastic

MOVES = {
    "crop": CropResize(scale=(0.2, 0.7)),
    "resize": CropResize(size=(9, 12, 7)),
    "flip": Flip(axes=(0, 1, 2)),
    "turn": Rotate90(plane=(0, 1)),
    "turn in another plane": Rotate90(plane=(1, 0)),
    "affine": Affine(shear_deg=5, translate=0.1, per_axis_scale=True),
    "affine in mm": Affine(spacing_mm=(1.0, 1.0, 3.0)),
    "middle": CentreCrop(size=(9, 8, 5)),
    "sometimes": Affine(p=0.5),
    "all": Compose(
        (
            Flip(axes=(1,)),
            Affine(),
            Noise(),
            CropResize(size=(10, 10, 9)),
            CentreCrop(size=(7,) * 3),
        )
    ),
    "one of": OneOf((Affine(), Flip(axes=(0,)), Noise())),
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def places(shape):
    """Coordinates of the voxels, from -1 to 1 between outer faces, ``(d, *shape)``."""
    lines = [(torch.arange(n) + 0.5) * 2 / n - 1 for n in shape]
    return torch.stack(torch.meshgrid(*lines, indexing="ij"))


def moved(frames, shape):
    """Where the voxels of views of a shape were read, ``(B, d, *shape)``."""
    dims = len(shape)
    flat = frames[:, :, :dims] @ places(shape).flatten(1) + frames[:, :, dims:]
    return flat.unflatten(2, shape)


@pytest.mark.parametrize("transform", MOVES.values(), ids=MOVES.keys())
def test_a_frame_tells_where_each_voxel_was_read(transform):
    # A picture of its own coordinates shows where it was read, except beyond its border.
    shape = (6, 3, 14, 14, 10)
    picture = places(shape[2:]).expand(shape).contiguous()
    params = transform.draw(shape, generator(3))
    only_moved = {k: torch.zeros_like(v) if "sigma" in k else v for k, v in params.items()}
    seen = transform.apply(picture, only_moved)
    expected = moved(transform.frames(shape, params), tuple(seen.shape[2:]))
    inside = (expected.abs() < 0.7).all(dim=1, keepdim=True).expand_as(seen)
    assert inside.float().mean() > 0.2
    torch.testing.assert_close(seen[inside], expected[inside], atol=2e-3, rtol=0)


def test_what_bends_has_no_frame():
    transform = Elastic()
    params = transform.draw((1, 1, 8, 8), generator())
    with pytest.raises(ConfigError, match="Elastic moves each voxel its own way"):
        transform.frames((1, 1, 8, 8), params)


def drawn_frames(dims, seed=0, count=5, **options):
    shape = (count, 1, *(24, 20, 16)[:dims])
    transform = Compose((CropResize(scale=(0.2, 0.8), **options), Flip(axes=tuple(range(dims)))))
    return transform.frames(shape, transform.draw(shape, generator(seed)))


@pytest.mark.parametrize("dims", [2, 3])
def test_a_relation_leads_from_the_second_view_to_the_first(dims):
    first, second = drawn_frames(dims, 0), drawn_frames(dims, 1)
    related = relation(first, second)
    shape = (4, 5, 6)[:dims]
    in_first = moved(related, shape).flatten(2)
    in_crop = first[:, :, :dims] @ in_first + first[:, :, dims:]
    torch.testing.assert_close(in_crop.unflatten(2, shape), moved(second, shape))


@pytest.mark.parametrize("dims", [2, 3])
def test_an_overlap_agrees_with_a_count_of_points(dims):
    first, second = drawn_frames(dims, 0), drawn_frames(dims, 1)
    shared = overlap(first, second)
    points = places((100,) * dims if dims == 2 else (50,) * 3).flatten(1)

    def inside(frames):
        edge, middle = frames[:, :, :dims].diagonal(dim1=1, dim2=2), frames[:, :, dims]
        own = (points - middle[:, :, None]) / edge[:, :, None]
        return (own.abs() <= 1).all(dim=1), own

    (in_first, own_first), (in_second, own_second) = inside(first), inside(second)
    both = in_first & in_second
    counted = both.sum(1) / (in_first | in_second).sum(1)
    torch.testing.assert_close(shared.iou, counted, atol=0.03, rtol=0)
    for number in range(len(first)):
        for own, box in ((own_first, shared.first), (own_second, shared.second)):
            seen = own[number][:, both[number]]
            if seen.numel():
                torch.testing.assert_close(seen.amin(1), box[number, :, 0], atol=0.15, rtol=0)
                torch.testing.assert_close(seen.amax(1), box[number, :, 1], atol=0.15, rtol=0)


def test_views_that_do_not_meet_share_nothing():
    left = torch.tensor([[[0.2, 0.0, -0.7], [0.0, 0.5, 0.0]]])
    right = torch.tensor([[[0.2, 0.0, 0.7], [0.0, 0.5, 0.0]]])
    shared = overlap(left, right)
    assert shared.iou.item() == 0
    assert shared.first[0, 0, 1] <= shared.first[0, 0, 0]


def test_turned_views_share_no_box():
    shape = (2, 1, 8, 8)
    turned = Affine(rotation_deg=20)
    frames = turned.frames(shape, turned.draw(shape, generator()))
    with pytest.raises(ConfigError, match="not a box"):
        overlap(frames, frames)


@pytest.mark.parametrize("dims", [2, 3])
def test_aligned_features_are_those_of_the_same_place(dims):
    shape = (5, dims, *(24, 20, 16)[:dims])
    picture = places(shape[2:]).expand(shape).contiguous()
    recipe = ViewRecipe.pair(Compose((CropResize(scale=(0.3, 0.8), aspect=1.2), Flip(axes=(0,)))))
    drawn = recipe.draw((5, 1, *shape[1:]), generator())
    first, second = recipe.apply(picture.unsqueeze(1), drawn)
    frames = recipe.frames((5, 1, *shape[1:]), drawn)
    aligned, seen = align(first, relation(*frames), second.shape[2:])
    assert seen.shape == (5, 1, *second.shape[2:])
    assert 0.05 < seen.float().mean() < 1
    # A cell beyond the outermost centres has no neighbour to be interpolated with.
    expected = moved(relation(*frames), tuple(second.shape[2:])).abs().amax(1, keepdim=True)
    within = (expected < 0.85).expand_as(second)
    torch.testing.assert_close(aligned[within], second[within], atol=5e-3, rtol=0)
