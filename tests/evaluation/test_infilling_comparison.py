import numpy as np
import pytest
import torch

from medssl.encoders.base import upsample_mask
from medssl.evaluation.infilling import compare_with_infilling, fill_nearest
from medssl.parts.infilling import fill_smooth, psnr
from medssl.parts.masking import RandomCells

SHAPE = (3, 1, 16, 16, 8)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Answering:
    """Hides cells and answers with a function of the truth."""

    def __init__(self, answer):
        self.answer = answer
        self.mask = RandomCells(ratio=0.5, size=4)

    def rebuild(self, volume, generator):
        hidden = upsample_mask(self.mask(volume.shape, generator), tuple(volume.shape[2:]))
        return self.answer(volume, hidden), volume, hidden


def test_a_method_that_knows_more_gains_and_one_that_interpolates_does_not():
    batches = [torch.randn(SHAPE, generator=generator(seed)) for seed in (1, 2)]
    knowing = compare_with_infilling(
        Answering(lambda volume, hidden: volume + 0.01), batches, generator()
    )
    assert knowing.gain.shape == (6,)
    assert (knowing.gain > 20).all()
    filling = compare_with_infilling(Answering(fill_smooth), batches, generator())
    np.testing.assert_allclose(filling.rebuilt, filling.smooth)
    assert (filling.gain <= 0).all()


def test_all_fill_the_same_holes():
    batch = torch.randn(SHAPE, generator=generator(1))
    found = compare_with_infilling(Answering(fill_smooth), [batch], generator(7))
    hidden = upsample_mask(RandomCells(ratio=0.5, size=4)(SHAPE, generator(7)), SHAPE[2:])
    expected = psnr(fill_nearest(batch, hidden), batch, hidden)
    np.testing.assert_allclose(found.nearest, expected.numpy(), rtol=1e-6)


def test_the_nearest_visible_voxel_is_taken():
    image = torch.tensor([1.0, 9.0, 9.0, 9.0, 2.0]).view(1, 1, 5, 1)
    hidden = torch.tensor([False, True, True, True, False]).view(1, 1, 5, 1)
    filled = fill_nearest(image, hidden).flatten().tolist()
    assert filled[1] == 1.0
    assert filled[3] == 2.0
    assert filled[2] in (1.0, 2.0)


def test_without_volumes_there_is_nothing_to_compare():
    with pytest.raises(ValueError, match="no volume to fill"):
        compare_with_infilling(Answering(fill_smooth), [], generator())
