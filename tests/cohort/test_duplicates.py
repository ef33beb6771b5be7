"""Copies: one a patient, marked between patients, and what they mean for a split."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from cohort.rows import admitted

from medssl.cohort.admit import Quarantined
from medssl.cohort.duplicates import settle_duplicates
from medssl.cohort.split import split_patients, tied_patients


def test_a_second_copy_of_one_patient_goes_and_one_of_another_is_marked():
    rows = [
        admitted("1", patient="a", voxels="00"),
        admitted("2", patient="a", voxels="00"),
        admitted("1", patient="b", voxels="00"),
        admitted("3", patient="b", voxels="ff"),
        admitted("1", patient="c", voxels="00"),
        admitted("1", patient="b", voxels="00"),
    ]
    settled = list(settle_duplicates(rows))
    gone = [row for row in settled if isinstance(row, Quarantined)]
    kept = [row for row in settled if not isinstance(row, Quarantined)]
    assert [row.detail for row in gone] == ["the same voxels as volume 1"] * 2
    assert [(row.patient, row.duplicate_of) for row in kept] == [
        ("a", None), ("b", "1"), ("b", None), ("c", "1"),
    ]  # fmt: skip
    assert len({row.id for row in kept}) == 4
    assert kept[0].id == "1"


def test_rows_are_settled_one_at_a_time():
    def endless():
        number = 0
        while True:
            yield admitted(f"{number:x}", voxels=f"{number:04x}", patient="a")
            number += 1

    settled = settle_duplicates(endless())
    assert [next(settled).id for _ in range(3)] == ["0", "1", "2"]


def test_patients_who_share_a_volume_are_never_parted():
    ids = [f"{number}" for number in range(8)]
    patients = ["a", "b", "c", "d", "e", "f", "g", "h"]
    copies = [None, "0", "1", None, "3", None, "absent", None]
    tied = tied_patients(ids, patients, copies)
    assert tied == ["a", "a", "a", "d", "d", "f", "g", "h"]
    for seed in range(20):
        parts = split_patients(tied, {"train": 0.5, "test": 0.5}, seed=seed)
        assert len(set(parts[:3])) == 1
        assert len(set(parts[3:5])) == 1


@pytest.mark.parametrize("reverse", [False, True])
def test_a_tie_does_not_depend_on_the_order_of_rows(reverse):
    rows = [("1", "z", None), ("2", "y", "1"), ("3", "x", "4"), ("4", "y", None), ("5", "w", None)]
    tied = tied_patients(*zip(*(reversed(rows) if reverse else rows), strict=True))
    names = tied[::-1] if reverse else tied
    assert names == ["x", "x", "x", "x", "w"]


def test_a_path_is_kept_as_it_was():
    (row,) = settle_duplicates([admitted("1")])
    assert row.path == PurePosixPath("1.nii")
