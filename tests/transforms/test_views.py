import pytest
import torch

from medssl.errors import ConfigError
from medssl.transforms.compose import Compose
from medssl.transforms.crop import CropResize
from medssl.transforms.intensity import Brightness
from medssl.transforms.views import View, ViewRecipe


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images():
    """Two places of five crops; every voxel tells place and crop."""
    numbers = torch.arange(10.0).view(2, 5, 1, 1, 1, 1)
    return numbers.expand(2, 5, 1, 4, 4, 4).contiguous()


def test_single_shows_every_crop_place_by_place(images):
    (view,) = ViewRecipe.single()(images, generator())
    assert view.shape == (10, 1, 4, 4, 4)
    assert view[:, 0, 0, 0, 0].tolist() == list(range(10))


def test_groups_split_the_crops_of_each_place(images):
    bases, crops = ViewRecipe.groups((range(3), None), (range(3, 5), None))(images, generator())
    assert bases[:, 0, 0, 0, 0].tolist() == [0, 1, 2, 5, 6, 7]
    assert crops[:, 0, 0, 0, 0].tolist() == [3, 4, 8, 9]
    assert torch.equal(bases.unflatten(0, (2, 3)), images[:, :3])


def test_the_order_of_named_crops_is_kept(images):
    (view,) = ViewRecipe((View((4, 3, 2, 1, 0)),))(images, generator())
    assert view[:5, 0, 0, 0, 0].tolist() == [4, 3, 2, 1, 0]


def test_a_pair_shows_the_same_crops_twice_and_differently(images):
    first, second = ViewRecipe.pair(Brightness(shift=0.4))(images, generator())
    assert (first.round() == images.flatten(0, 1)).all()
    assert (second.round() == images.flatten(0, 1)).all()
    assert not torch.equal(first, second)


def test_the_second_of_a_pair_can_be_treated_otherwise(images):
    first, second = ViewRecipe.pair(None, Brightness(shift=0.4))(images, generator())
    assert torch.equal(first, images.flatten(0, 1))
    assert not torch.equal(second, first)


def test_every_crop_is_transformed_by_itself(images):
    (view,) = ViewRecipe.single(Brightness(shift=0.4))(images, generator())
    shifts = (view - images.flatten(0, 1))[:, 0, 0, 0, 0]
    assert len(shifts.unique()) == 10


def test_the_same_seed_makes_the_same_views(images):
    recipe = ViewRecipe.pair(Brightness())
    for first, again in zip(
        recipe(images, generator(5)), recipe(images, generator(5)), strict=True
    ):
        assert torch.equal(first, again)


def test_planar_images_make_views_too():
    (view,) = ViewRecipe.single(Brightness())(torch.zeros(2, 3, 1, 8, 8), generator())
    assert view.shape == (6, 1, 8, 8)


def test_crops_that_the_sampler_does_not_cut_are_told(images):
    with pytest.raises(ConfigError, match="the sampler cuts 5 a place"):
        ViewRecipe.groups((range(9), None))(images, generator())


def test_views_that_were_drawn_can_be_made_again(images):
    recipe = ViewRecipe.pair(Compose((CropResize(), Brightness())), None)
    drawn = recipe.draw(images.shape, generator(3))
    called = recipe(images, generator(3))
    for first, again, view in zip(
        recipe.apply(images, drawn), recipe.apply(images, drawn), called, strict=True
    ):
        assert torch.equal(first, again)
        assert torch.equal(first, view)


def test_a_view_knows_where_in_its_crop_it_lies(images):
    recipe = ViewRecipe.groups((range(3), CropResize(p=0.5)), (range(3, 5), None))
    drawn = recipe.draw(images.shape, generator())
    cut, whole = recipe.frames(images.shape, drawn)
    assert cut.shape == (6, 3, 4)
    assert torch.equal(whole, torch.eye(3, 4).expand(4, 3, 4))
    assert torch.equal(cut[~drawn[0]["active"]][0], torch.eye(3, 4))
    assert (cut[drawn[0]["active"]].diagonal(dim1=1, dim2=2) < 1).any()


def test_multicrop_makes_two_large_views_and_several_small_ones_of_each_crop(images):
    large, small = CropResize(size=(4, 4, 4)), CropResize(size=(2, 2, 2))
    views = ViewRecipe.multicrop(large, small, local_views=5)(images, generator())
    assert [tuple(view.shape) for view in views] == [(10, 1, 4, 4, 4)] * 2 + [(10, 1, 2, 2, 2)] * 5
    for view in views:  # crop by crop in the same order
        torch.testing.assert_close(view[:, 0, 0, 0, 0], torch.arange(10.0))


def test_the_second_large_view_can_be_treated_otherwise(images):
    large = CropResize(size=(4, 4, 4))
    brighter = Compose((large, Brightness(shift=0.4)))
    recipe = ViewRecipe.multicrop(large, large, second=brighter, local_views=0)
    first, second = recipe(images, generator())
    torch.testing.assert_close(first, images.flatten(0, 1))
    assert not torch.allclose(second, first, atol=0.01)
