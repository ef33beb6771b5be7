import pytest
import torch

from medssl.errors import ConfigError
from medssl.transforms.spatial import Flip, Rotate90


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_flip_mirrors_named_axes_only_and_each_half_of_the_time():
    image = torch.arange(24.0).view(1, 1, 4, 3, 2).repeat(400, 1, 1, 1, 1)
    flipped = Flip(axes=(1, 2))(image, generator())
    counts = {
        axes: int((flipped == image[:1].flip(axes)).flatten(1).all(1).sum())
        for axes in [(), (3,), (4,), (3, 4)]
    }
    assert sum(counts.values()) == 400
    assert min(counts.values()) > 60


def test_no_axis_is_mirrored_unless_named():
    with pytest.warns(UserWarning, match="Flip.* never changes an image"):
        Flip()


def test_a_flip_names_axes_that_exist():
    with pytest.raises(ConfigError, match="axes 0 to 1"):
        Flip(axes=(2,))(torch.zeros(1, 1, 4, 4), generator())


def test_turns_by_quarters_come_equally_often():
    image = torch.arange(32.0).view(1, 1, 4, 4, 2).repeat(400, 1, 1, 1, 1)
    turned = Rotate90(plane=(0, 1))(image, generator())
    counts = [
        int((turned == image[:1].rot90(quarters, [2, 3])).flatten(1).all(1).sum())
        for quarters in range(4)
    ]
    assert sum(counts) == 400
    assert min(counts) > 60


def test_a_quarter_turn_needs_equal_edges():
    with pytest.raises(ConfigError, match=r"edges \(4, 2\)"):
        Rotate90(plane=(1, 2))(torch.zeros(1, 1, 4, 4, 2), generator())


def test_a_plane_has_two_axes():
    with pytest.raises(ConfigError, match="two different axes"):
        Rotate90(plane=(1, 1))


def test_a_plane_names_axes_that_exist():
    with pytest.raises(ConfigError, match="axes 0 to 1"):
        Rotate90(plane=(0, 2))(torch.zeros(1, 1, 4, 4), generator())
