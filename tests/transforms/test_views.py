import pytest
import torch

from medssl.errors import ConfigError
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
