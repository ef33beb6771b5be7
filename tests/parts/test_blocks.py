"""Masks of blocks hide what they say, in one piece each."""

import numpy as np
import pytest
import scipy.ndimage
import torch

from medssl.errors import ConfigError
from medssl.parts.blocks import BlockCells, PartialCells

SHAPE = (6, 1, 64, 48, 32)


@pytest.mark.parametrize("ratio", [0.2, 0.6, 0.9])
def test_blocks_hide_exactly_the_share_of_every_image(ratio):
    hidden = BlockCells(ratio=ratio, size=8)(SHAPE, torch.Generator().manual_seed(0))
    assert hidden.shape == (6, 8, 6, 4)
    assert (hidden.flatten(1).sum(dim=1) == round(ratio * 8 * 6 * 4)).all()


def test_blocks_hide_pieces_where_single_cells_would_be_scattered():
    def pieces(mask):
        hidden = mask(SHAPE, torch.Generator().manual_seed(1))
        return np.mean([scipy.ndimage.label(each.numpy())[1] for each in hidden])

    assert pieces(BlockCells(ratio=0.15, size=8)) <= 2
    assert pieces(PartialCells(images=1.0, ratio=(0.15, 0.15), size=8)) > 5


def test_another_draw_hides_other_blocks():
    mask, generator = BlockCells(size=8), torch.Generator().manual_seed(0)
    first, second = (mask(SHAPE, generator) for _ in range(2))
    assert (first != second).flatten(1).any(dim=1).all()


@pytest.mark.parametrize("blocks", [False, True])
def test_half_of_the_images_hide_shares_between_the_bounds(blocks):
    mask = PartialCells(ratio=(0.2, 0.75), size=8, blocks=blocks)
    draws = [mask(SHAPE, torch.Generator().manual_seed(seed)) for seed in range(5)]
    counts = [sorted(hidden.flatten(1).sum(dim=1).tolist()) for hidden in draws]
    assert all(count == counts[0] for count in counts), "ranks would compare unequal numbers"
    assert counts[0][:3] == [0, 0, 0]
    assert all(0.2 * 192 <= count <= 0.75 * 192 for count in counts[0][3:])
    assert len({tuple(hidden.flatten(1).any(dim=1).tolist()) for hidden in draws}) > 1


def test_impossible_masks_are_refused():
    with pytest.raises(ConfigError, match="blocks of a share"):
        BlockCells(share=(0.5, 0.2))
    with pytest.raises(ConfigError, match="masks for"):
        PartialCells(images=0.0)
