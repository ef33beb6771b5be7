"""What a sampler may know of a volume survives being written."""

import json

import numpy as np
import pytest

from medssl.errors import StoreError
from medssl.sampling import Tissue, VolumeFacts, rng
from medssl.store.note import facts_from_note, facts_to_note


def facts_of(tissue=True):
    chance = np.random.default_rng(0)
    cells = chance.random((4, 5, 3)) < 0.5
    return VolumeFacts(
        (16, 18, 9),
        (1.0, 1.0, 2.5),
        cells,
        (4, 4, 3),
        {2: chance.integers(0, 9, (7, 3)).astype(np.int32)},
        tissue=(cells * 2).astype(np.uint8) if tissue else None,
        tissue_names=("fat", "bone") if tissue else (),
        volume="a",
    )


def test_facts_go_through_json_unchanged():
    facts = facts_of()
    back = facts_from_note(json.loads(json.dumps(facts_to_note(facts))), "a")
    assert (back.shape, back.spacing_mm, back.cell) == (facts.shape, facts.spacing_mm, facts.cell)
    assert np.array_equal(back.occupancy, facts.occupancy)
    assert np.array_equal(back.label_voxels[2], facts.label_voxels[2])
    assert np.array_equal(back.tissue, facts.tissue)
    assert back.tissue_names == facts.tissue_names
    assert back.volume == "a"
    patch = (4, 4, 3)
    assert Tissue().place(back, patch, rng(0)).region == Tissue().place(facts, patch, rng(0)).region


def test_a_note_of_an_earlier_version_says_what_to_do():
    note = facts_to_note(facts_of())
    del note["tissue"], note["tissue_names"]
    back = facts_from_note(note)
    assert back.tissue is None
    with pytest.raises(StoreError, match="prepare again with --overwrite"):
        Tissue().place(back, (4, 4, 3), rng(0))
