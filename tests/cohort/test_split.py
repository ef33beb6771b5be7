from __future__ import annotations

from collections import Counter

import pytest

from medssl.cohort.split import split_patients

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}


def test_a_patient_is_never_torn_apart():
    patients = [f"p{number % 37}" for number in range(200)]
    parts = split_patients(patients, SHARES)
    assert len(set(zip(patients, parts, strict=True))) == 37
    assert set(parts) == set(SHARES)


def test_shares_are_kept_and_the_seed_decides():
    patients = [f"p{number}" for number in range(100)]
    first = split_patients(patients, SHARES, seed=1)
    assert Counter(first) == {"train": 70, "val": 10, "test": 20}
    assert first == split_patients(patients, SHARES, seed=1)
    assert first != split_patients(patients, SHARES, seed=2)


def test_the_order_of_volumes_does_not_matter():
    patients = [f"p{number % 11}" for number in range(30)]
    forward = dict(zip(patients, split_patients(patients, SHARES), strict=True))
    patients.reverse()
    assert forward == dict(zip(patients, split_patients(patients, SHARES), strict=True))


def test_a_small_share_gets_a_patient_where_there_are_enough():
    assert Counter(split_patients(["a", "b", "c"], {"train": 0.98, "val": 0.02})) == {
        "train": 2,
        "val": 1,
    }
    assert split_patients([], SHARES) == []


@pytest.mark.parametrize("shares", [{"train": 0.5}, {"train": 1.5, "val": -0.5}, {}])
def test_shares_that_are_no_shares_are_refused(shares):
    with pytest.raises(ValueError, match="shares"):
        split_patients(["a"], shares)
