import pytest
import torch

from medssl.errors import ConfigError
from medssl.parts.masking import RandomCells


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("ratio", [0.1, 0.6, 0.75, 0.9])
@pytest.mark.parametrize("shape", [(5, 1, 32, 24, 16), (5, 2, 32, 24)])
def test_every_image_hides_the_same_number_of_cells(ratio, shape):
    mask = RandomCells(ratio=ratio, size=4)(shape, generator())
    assert mask.shape == (5, *[n // 4 for n in shape[2:]])
    assert mask.dtype == torch.bool
    cells = mask[0].numel()
    assert mask.flatten(1).sum(1).tolist() == [round(ratio * cells)] * 5


def test_images_differ_and_seeds_replay():
    mask = RandomCells(ratio=0.5, size=4)
    first, again, other = (mask((4, 1, 16, 16, 16), generator(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len({tuple(row.flatten().tolist()) for row in first}) == 4


def test_every_cell_is_hidden_as_often_as_any_other():
    mask = RandomCells(ratio=0.75, size=8)((4000, 1, 16, 16, 24), generator())
    torch.testing.assert_close(mask.float().mean(0), torch.full((2, 2, 3), 0.75), atol=0.03, rtol=0)


def test_cells_need_not_be_cubes():
    mask = RandomCells(ratio=0.5, size=(8, 8, 2))
    assert mask.grid((32, 16, 8)) == (4, 2, 4)
    assert mask.hidden_count((4, 2, 4)) == 16


def test_cells_that_do_not_tile_the_patch_are_refused():
    with pytest.raises(ConfigError, match=r"cells of \(16, 16, 16\) .* patch of \(32, 32, 24\)"):
        RandomCells(size=16)((1, 1, 32, 32, 24), generator())


def test_cells_of_other_dimension_are_refused():
    with pytest.raises(ConfigError, match="one edge an axis"):
        RandomCells(size=(8, 8))((1, 1, 16, 16, 16), generator())


def test_a_mask_that_hides_all_or_nothing_is_refused():
    with pytest.raises(ConfigError, match="hides 1 of 1 cells"):
        RandomCells(ratio=0.75, size=16)((1, 1, 16, 16, 16), generator())


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.5])
def test_a_ratio_hides_some_and_shows_some(ratio):
    with pytest.raises(ConfigError, match="mask ratio was"):
        RandomCells(ratio=ratio)


@pytest.mark.parametrize("size", [0, (), (8, 0, 8)])
def test_cells_have_an_extent(size):
    with pytest.raises(ConfigError, match="edges must be positive"):
        RandomCells(size=size)
