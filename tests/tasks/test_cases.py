"""Which labelled cases a run trains on and which it measures on."""

from pathlib import Path

import pytest

from medssl.cohort.datasets import Case, LabelledDataset
from medssl.errors import DatasetError, UsageError
from medssl.tasks.cases import choose_cases


def dataset(*splits, per_patient=1):
    cases = [
        Case(
            id=f"case{number}",
            image=Path(f"case{number}.nii.gz"),
            label=Path(f"mask{number}.nii.gz"),
            target=None,
            patient=f"patient{number // per_patient}",
            split=split,
        )
        for number, split in enumerate(splits)
    ]
    return LabelledDataset(cases=cases, labels={"organ": 1}, task="segmentation")


def ids(cases):
    return [case.id for case in cases]


def test_splits_of_the_dataset_are_honoured_and_test_cases_take_no_part():
    chosen = choose_cases(
        dataset("train", "val", "test", "train", None), validation=0.5, labels=None, seed=0
    )
    assert ids(chosen.training) == ["case0", "case3", "case4"]
    assert ids(chosen.held_out) == ["case1"]


def test_without_splits_all_cases_are_trained_on():
    chosen = choose_cases(dataset(*[None] * 5), validation=0.0, labels=None, seed=0)
    assert len(chosen.training) == 5
    assert chosen.held_out == ()


def test_a_share_to_measure_on_is_held_out_by_patient():
    chosen = choose_cases(dataset(*[None] * 20, per_patient=2), validation=0.3, labels=None, seed=0)
    training = {case.patient for case in chosen.training}
    held_out = {case.patient for case in chosen.held_out}
    assert not training & held_out
    assert len(held_out) == 3
    assert len(chosen.all) == 20


def test_so_many_labels_are_drawn_by_the_seed():
    many = dataset(*["train"] * 12, "val")
    first = choose_cases(many, validation=0.0, labels=4, seed=0)
    again = choose_cases(many, validation=0.0, labels=4, seed=0)
    other = choose_cases(many, validation=0.0, labels=4, seed=1)
    assert len(first.training) == 4
    assert first == again
    assert first != other
    assert ids(first.held_out) == ["case12"]


@pytest.mark.parametrize("labels", [0, 4])
def test_more_labels_than_there_are_is_refused(labels):
    with pytest.raises(UsageError, match="from 1 to 3"):
        choose_cases(dataset(*["train"] * 3), validation=0.0, labels=labels, seed=0)


def test_a_dataset_with_nothing_to_train_on_is_refused():
    with pytest.raises(DatasetError, match="none of the 2 cases"):
        choose_cases(dataset("test", "val"), validation=0.0, labels=None, seed=0)
