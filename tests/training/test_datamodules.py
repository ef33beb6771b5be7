import itertools

import numpy as np
import pytest
import torch

from medssl.sampling.body import Body
from medssl.sampling.facts import VolumeFacts
from medssl.sampling.grid import Grid
from medssl.sampling.places import Uniform
from medssl.sampling.slices import Slices
from medssl.training.datamodules import CropDataset, GlobalBatches, collate, crop_loader

SHAPE = (20, 18, 16)


class Memory:
    """Three volumes whose voxels tell where they are."""

    volumes = ("a", "b", "c")

    def facts(self, volume):
        cells = np.ones(tuple(-(-n // 4) for n in SHAPE), bool)
        return VolumeFacts(SHAPE, (1.0, 1.0, 1.0), cells, (4, 4, 4))

    def data(self, volume):
        return np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE) + 1e4 * "abc".index(
            volume
        )

    def read(self, volume, start, size):
        box = tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))
        return self.data(volume)[box][None]

    def read_label(self, volume, start, size):
        return self.read(volume, start, size)[0].astype(np.int32).astype(np.int16)


def dataset(places, patch=(8, 8, 8), seed=3, labels=False):
    return CropDataset(Memory(), Memory.volumes, places, patch, seed=seed, labels=labels)


@pytest.mark.parametrize("places", [Uniform(), Body(), Grid(grid=(2, 2, 1), crops=3)])
def test_sample_is_a_function_of_seed_and_number(places):
    first, again = dataset(places)[7], dataset(places)[7]
    assert torch.equal(first.images, again.images)
    assert first.volumes == again.volumes
    assert not torch.equal(dataset(places, seed=4)[7].images, first.images)


def test_every_epoch_visits_every_volume():
    samples = dataset(Uniform())
    for epoch in range(4):
        seen = {samples[n].volumes[0] for n in range(3 * epoch, 3 * epoch + 3)}
        assert seen == {"a", "b", "c"}


def test_label_lies_where_the_image_lies():
    sample = dataset(Uniform(), labels=True)[1]
    expected = sample.images[0, :, 0].to(torch.int32).to(torch.int16)
    assert torch.equal(sample.targets["label"][0], expected)


def test_planar_patch_cuts_axial_slices():
    sample = dataset(Slices(Uniform()), patch=(8, 6), labels=True)[2]
    assert sample.images.shape == (1, 1, 1, 8, 6)
    assert sample.targets["label"].shape == (1, 1, 8, 6)
    plane = sample.images[0, 0, 0]
    assert torch.equal(plane[1:] - plane[:-1], torch.full((7, 6), float(SHAPE[1] * SHAPE[2])))


def test_two_ranks_together_see_what_one_sees():
    alone = list(GlobalBatches(4, 4))
    ranks = [list(GlobalBatches(4, 2, rank=rank, world_size=2)) for rank in (0, 1)]
    joint = [sorted(itertools.chain(*pair)) for pair in zip(*ranks, strict=True)]
    assert joint == alone


def test_resumed_batches_go_on_where_they_stopped():
    whole = list(GlobalBatches(6, 3))
    resumed = GlobalBatches(6, 3, first=2)
    assert list(resumed) == whole[2:]
    assert len(resumed) == 6


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_gives_the_batches_of_the_dataset(workers):
    samples = dataset(Grid(grid=(2, 1, 1), crops=2))
    loader = crop_loader(samples, GlobalBatches(3, 2), workers=workers)
    for number, batch in enumerate(loader):
        expected = collate([samples[2 * number], samples[2 * number + 1]])
        assert torch.equal(batch.images, expected.images)
        assert torch.equal(batch.targets["overlap"], expected.targets["overlap"])
        assert batch.indices == expected.indices
