import itertools

import numpy as np
import pyarrow as pa
import pytest
import torch

from medssl.errors import ConfigError
from medssl.sampling import (
    Body,
    Corresponding,
    Grid,
    Pairs,
    PartWhole,
    SlicePosition,
    Slices,
    Tissue,
    Uniform,
    VolumeFacts,
)
from medssl.store.coding import Coding
from medssl.training.config import DataConfig
from medssl.training.datamodules import (
    CropDataset,
    GlobalBatches,
    collate,
    crop_loader,
    decoded,
)

SHAPE = (20, 18, 16)


class Memory:
    """Three volumes whose voxels tell where they are."""

    volumes = ("a", "b", "c")

    def facts(self, volume):
        cells = np.ones(tuple(-(-n // 4) for n in SHAPE), bool)
        tissue = np.indices(cells.shape)[0].astype(np.uint8) % 3 + 1
        return VolumeFacts(
            SHAPE,
            (1.0, 1.0, 1.0),
            cells,
            (4, 4, 4),
            tissue=tissue,
            tissue_names=("dark", "medium", "bright"),
            volume=volume,
        )

    def data(self, volume):
        return np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE) + 1e4 * "abc".index(
            volume
        )

    def read(self, volume, start, size):
        stops = np.add(start, size) - SHAPE
        edges = [(max(0, -a), max(0, b)) for a, b in zip(start, stops.tolist(), strict=True)]
        padded = np.pad(self.data(volume), edges)
        box = tuple(
            slice(a + low, a + low + n) for a, n, (low, _) in zip(start, size, edges, strict=True)
        )
        return padded[box][None]

    def read_label(self, volume, start, size):
        return self.read(volume, start, size)[0].astype(np.int32).astype(np.int16)


class Cohort(Memory):
    """The same, with a table: two series of one patient and one of another."""

    table = pa.table(
        {
            "id": ["c", "b", "a"],
            "patient": ["q", "p", "p"],
            "study": ["1", "2", "2"],
            "modality": ["ct", "ct", "mr"],
        }
    )


class Integers(Memory):
    """The same as integers, each volume with a coding of its own."""

    def coding(self, volume):
        return {
            "a": Coding(100, 4000, 1500.0, 1 / 700),
            "b": Coding(-40000, 40000, 12345.5, 0.1),
            "c": Coding(20100, 24000, 22000.3, 1 / 3),
        }[volume]

    def read_stored(self, volume, start, size):
        return super().read(volume, start, size).astype(np.int16), self.coding(volume)

    def read(self, volume, start, size):
        stored, coding = self.read_stored(volume, start, size)
        return coding.decode(stored)


def dataset(places, patch=(8, 8, 8), seed=3, labels=False, store=None, **options):
    return CropDataset(
        store or Memory(), Memory.volumes, places, patch, seed=seed, labels=labels, **options
    )


EVERY = {
    "uniform": (Uniform(), (8, 8, 8)),
    "body": (Body(crops=2), (8, 8, 8)),
    "tissue": (Tissue(), (8, 8, 8)),
    "grid": (Grid(grid=(2, 2, 1), crops=3), (8, 8, 8)),
    "pairs": (Pairs(scale=(0.8, 1.2)), (8, 8, 8)),
    "part_whole": (PartWhole(), (8, 8, 8)),
    "slices": (Slices(Uniform(), axis=(0, 1, 2), channels=3), (8, 6)),
    "slab": (Slices(Uniform(), axis=1, slab_mm=3.0), (8, 6)),
    "positions": (Slices(SlicePosition(every=True)), (8, 6)),
    "corresponding": (Corresponding(volumes=3, jitter=0.2), (8, 8, 8)),
}


def same(one, two):
    return (
        torch.equal(one.images, two.images)
        and one.volumes == two.volumes
        and one.indices == two.indices
        and one.targets.keys() == two.targets.keys()
        and all(torch.equal(one.targets[name], two.targets[name]) for name in one.targets)
    )


@pytest.mark.parametrize("name", EVERY)
def test_sample_is_a_function_of_seed_and_number(name):
    places, patch = EVERY[name]
    sample = dataset(places, patch)[7]
    assert same(sample, dataset(places, patch)[7])
    assert sample.images.shape[3:] == patch
    assert sample.images.dtype == torch.float32
    others = [dataset(places, patch, seed=seed)[7].images for seed in (4, 5)]
    assert not all(torch.equal(other, sample.images) for other in others)


def test_every_epoch_visits_every_volume():
    samples = dataset(Uniform())
    for epoch in range(4):
        seen = {samples[n].volumes[0] for n in range(3 * epoch, 3 * epoch + 3)}
        assert seen == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("balance", "counts"),
    [
        ("none", {"a": 20, "b": 20, "c": 20}),
        ("patient", {"a": 15, "b": 15, "c": 30}),
        ("study", {"a": 15, "b": 15, "c": 30}),
        ("modality", {"a": 30, "b": 15, "c": 15}),
    ],
)
def test_groups_are_drawn_evenly(balance, counts):
    samples = dataset(Uniform(), store=Cohort(), balance=balance)
    drawn = [samples[number].volumes[0] for number in range(60)]
    assert {name: drawn.count(name) for name in counts} == counts


def test_a_store_without_a_table_takes_volumes_for_patients():
    assert same(dataset(Uniform())[11], dataset(Uniform(), balance="patient")[11])


def test_patients_are_balanced_unless_told_otherwise():
    assert DataConfig().balance == "patient"


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


def test_neighbouring_slices_are_channels():
    sample = dataset(Slices(Uniform(crops=2), channels=3), patch=(8, 6), labels=True)[2]
    assert sample.images.shape == (1, 2, 3, 8, 6)
    assert sample.targets["label"].shape == (1, 2, 8, 6)


def test_crops_of_several_patients_come_together():
    sample = dataset(Corresponding(volumes=3, same_modality=False), labels=True)[4]
    assert sample.images.shape == (1, 3, 1, 8, 8, 8)
    assert sample.targets["member"].tolist() == [[0, 1, 2]]
    assert sample.targets["position"].shape == (1, 3, 3)
    assert sample.targets["label"].shape == (1, 3, 8, 8, 8)
    names = sample.volumes[0].split(" + ")
    assert sorted(names) == ["a", "b", "c"]
    for name, crop in zip(names, sample.images[0, :, 0], strict=True):
        assert int(crop.min() // 1e4) == "abc".index(name)


def test_volumes_without_a_partner_are_refused():
    with pytest.raises(ConfigError, match="other patients"):
        dataset(Corresponding(), store=Cohort())
    samples = dataset(Corresponding(same_modality=False), store=Cohort())
    assert {samples[n].volumes[0].split(" + ")[1] for n in range(20)} == {"a", "b", "c"}
    assert not any("a + b" in samples[n].volumes[0] for n in range(20))


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


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker")
@pytest.mark.parametrize(
    ("name", "workers"),
    [("grid", 0), ("grid", 2), ("grid", 4), ("corresponding", 0), ("corresponding", 2)],
)
def test_loader_gives_the_batches_of_the_dataset(name, workers):
    samples = dataset(*EVERY[name])
    for number, batch in enumerate(crop_loader(samples, GlobalBatches(5, 2), workers=workers)):
        assert same(batch, collate([samples[2 * number], samples[2 * number + 1]]))


@pytest.mark.parametrize("workers", [0, 2])
def test_crop_n_of_epoch_e_is_the_same_after_a_resume_and_across_two_ranks(workers):
    """One run of six batches of four; the same, stopped after three; and the same on two ranks."""
    samples = dataset(Body(crops=2), balance="patient", store=Cohort())
    whole = list(crop_loader(samples, GlobalBatches(6, 4), workers=0))
    resumed = list(crop_loader(samples, GlobalBatches(6, 4, first=3), workers=workers))
    assert [same(a, b) for a, b in zip(resumed, whole[3:], strict=True)] == [True] * 3
    ranks = [
        list(crop_loader(samples, GlobalBatches(6, 2, rank=rank, world_size=2), workers=workers))
        for rank in (0, 1)
    ]
    for number, batch in enumerate(whole):
        joined = torch.cat([rank[number].images for rank in ranks])
        assert torch.equal(joined, batch.images)
        assert [i for rank in ranks for i in rank[number].indices] == batch.indices


@pytest.mark.parametrize("name", ["body", "grid", "corresponding", "part_whole", "pairs", "slices"])
@pytest.mark.parametrize("workers", [0, 2])
def test_integers_become_the_same_intensities_on_the_device(name, workers):
    places, patch = EVERY[name]
    known = dataset(places, patch, store=Integers())
    samples = dataset(places, patch, store=Integers(), integers=True)
    some_integers = False
    for number, batch in enumerate(crop_loader(samples, GlobalBatches(3, 4), workers=workers)):
        some_integers |= batch.images.dtype == torch.int16
        assert (batch.coding is None) == batch.images.is_floating_point()
        expected = collate([known[n] for n in range(4 * number, 4 * number + 4)])
        assert same(decoded(batch), expected)
    assert some_integers == (name in {"body", "grid", "corresponding"})


def test_integers_and_intensities_make_a_batch_of_intensities():
    samples = dataset(Uniform(), store=Integers(), integers=True)
    known = dataset(Uniform(), store=Integers())
    mixed = collate([samples[0], known[1]])
    assert same(mixed, collate([known[0], known[1]]))
    assert mixed.coding is None


def test_planar_crops_of_volumes_are_axial_slices():
    sample = dataset(Body(crops=2), patch=(8, 6))[3]
    assert sample.images.shape == (1, 2, 1, 8, 6)
    place = dataset(Slices(Body(crops=2), axis=2), patch=(8, 6))[3]
    assert same(sample, place)
