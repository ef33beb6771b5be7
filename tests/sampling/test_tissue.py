"""What tissue a cell holds, and crops that look at each equally often."""

import numpy as np
import pytest

from medssl.errors import ConfigError, StoreError
from medssl.sampling import Tissue, VolumeFacts, rng
from medssl.sampling.body import cell_of, occupancy
from medssl.sampling.tissue import CT_TISSUES, OTHER_TISSUES, tissue_strata

CELL = (4, 4, 4)


def blocks(values):
    """A body whose cells each hold one of the values, in air."""
    cells = np.pad(np.array(values, float).reshape(2, 2, 2), 1, constant_values=-1000)
    return np.kron(cells, np.ones(CELL))


def test_ct_tissues_go_by_hounsfield_units():
    hu = blocks([-850, -100, 40, 700, 60, -80, -600, 300])
    inside = np.pad(np.ones((2, 2, 2), bool), 1)
    strata, names = tissue_strata(hu, "ct", CELL, inside)
    assert names == CT_TISSUES
    assert (strata[~inside] == 0).all()
    told = [names[n - 1] for n in strata[inside]]
    assert told == ["lung", "fat", "soft_tissue", "bone", "soft_tissue", "fat", "lung", "bone"]


def test_a_border_of_lung_and_muscle_is_not_fat():
    hu = np.full((8, 8, 8), -850.0)
    hu[:, :, 2:] = 50.0
    strata, names = tissue_strata(hu, "ct", (8, 8, 8), np.ones((1, 1, 1), bool))
    assert -250 <= hu.mean() < -30 or hu.mean() < -100
    assert names[int(strata[0, 0, 0]) - 1] == "soft_tissue"


def test_a_quarter_of_cortex_makes_a_bone():
    hu = np.full((4, 4, 4), 30.0)
    hu[0] = 800.0
    strata, names = tissue_strata(hu, "ct", CELL, np.ones((1, 1, 1), bool))
    assert names[int(strata[0, 0, 0]) - 1] == "bone"
    hu[0, 0] = 30.0
    strata, _ = tissue_strata(hu, "ct", CELL, np.ones((1, 1, 1), bool))
    assert names[int(strata[0, 0, 0]) - 1] == "soft_tissue"


@pytest.mark.parametrize("ndim", [2, 3])
def test_mr_strata_part_dark_medium_and_bright(ndim):
    chance = np.random.default_rng(0)
    truth = chance.choice(3, size=(8,) * ndim, p=(0.2, 0.7, 0.1))
    means = np.array([100.0, 300.0, 700.0])[truth]
    data = np.kron(means, np.ones((4,) * ndim)) + chance.normal(0, 20, (32,) * ndim)
    strata, names = tissue_strata(data, "mr", (4,) * ndim, np.ones(truth.shape, bool))
    assert names == OTHER_TISSUES
    assert np.array_equal(strata, truth + 1)


@pytest.mark.parametrize("modality", ["ct", "mr"])
def test_cells_that_do_not_divide_the_volume_and_constant_images_have_a_tissue(modality):
    data = np.zeros((41, 33, 18))
    cell = (9, 5, 7)
    strata, _ = tissue_strata(data, modality, cell, np.ones((5, 7, 3), bool))
    assert strata.shape == (5, 7, 3)
    assert (strata > 0).all()


def test_strata_of_a_phantom_are_where_its_organs_are():
    from medssl.phantom import ORGANS, make_subject

    subject = make_subject(3, size=(48, 48, 56))
    data = np.rint(subject.image).astype(np.int16)
    cell = cell_of(data.shape, (8.3, 8.3, 8.6))
    strata, names = tissue_strata(data, "ct", cell, occupancy(data, "ct", cell))
    voxels = np.kron(strata, np.ones(cell, int))[tuple(slice(n) for n in data.shape)]

    def share(organ, tissue):
        inside = subject.labels == ORGANS[organ]
        return (voxels[inside] == names.index(tissue) + 1).mean()

    assert share("lung_right", "lung") > 0.75
    assert share("liver", "soft_tissue") > 0.85
    assert share("vertebrae", "bone") > 0.7


def striped():
    """Three tissues, of which one fills nine tenths of the body."""
    tissue = np.full((20, 20, 20), 3, np.uint8)
    tissue[4:7, 4:8, 4:8] = 1
    tissue[14, 14, 14] = 4
    return VolumeFacts(
        (80, 80, 80), (1.0,) * 3, tissue > 0, CELL, tissue=tissue, tissue_names=CT_TISSUES
    )


def tissues_of(sampler, count=600):
    """The tissue that each draw looked for: the crop is one voxel, so it can hold no other."""
    facts = striped()
    places = [sampler.place(facts, (1, 1, 1), rng(0, number)) for number in range(count)]
    at = np.array([np.floor_divide(place.region.start, CELL) for place in places])
    return np.bincount(facts.tissue[tuple(at.T)], minlength=5) / count


def test_every_tissue_is_looked_at_equally_often():
    assert tissues_of(Tissue()) == pytest.approx([0, 1 / 3, 0, 1 / 3, 1 / 3], abs=0.06)


def test_weights_change_how_often():
    shares = tissues_of(Tissue(weights={"bone": 2.0, "soft_tissue": 0.0}))
    assert shares == pytest.approx([0, 1 / 3, 0, 0, 2 / 3], abs=0.06)


def test_a_volume_of_none_of_the_wanted_tissues_gives_a_crop_still():
    sampler = Tissue(weights=dict.fromkeys(CT_TISSUES, 0.0))
    assert sampler.place(striped(), (8, 8, 8), rng(0, 0)).region.size == (8, 8, 8)


def test_unknown_tissues_and_stores_without_them_are_refused():
    with pytest.raises(ConfigError, match="muscle"):
        Tissue(weights={"muscle": 1.0})
    without = VolumeFacts((8, 8), (1.0,) * 2, np.ones((2, 2), bool), (4, 4))
    with pytest.raises(StoreError, match="--overwrite"):
        Tissue().place(without, (4, 4), rng(0))
