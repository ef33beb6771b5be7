"""Which labelled cases are trained on, and which are kept to measure on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medssl.cohort.datasets import Case, LabelledDataset
from medssl.cohort.split import split_patients
from medssl.errors import DatasetError, UsageError
from medssl.sampling.counter import rng

__all__ = ["Cases", "choose_cases"]


@dataclass(frozen=True)
class Cases:
    """The cases of one run.

    Attributes:
        training: Trained on.
        held_out: Measured on a few times; never trained on.
    """

    training: tuple[Case, ...]
    held_out: tuple[Case, ...]

    @property
    def all(self) -> tuple[Case, ...]:
        """Both, those that are trained on first."""
        return (*self.training, *self.held_out)


def choose_cases(
    dataset: LabelledDataset, *, validation: float, labels: int | None, seed: int
) -> Cases:
    """Split the cases as the dataset says, or by patient.

    Args:
        dataset: Its cases say ``train``, ``val`` or ``test``, or nothing at all. A case that says
            nothing beside others that do is trained on; one that says ``test`` takes no part.
        validation: Share of the patients that is held out where the dataset says nothing.
        labels: How many training cases to keep, drawn by the seed; none keeps all.
        seed: Decides both draws.

    Raises:
        DatasetError: If nothing is left to train on.
        UsageError: If more cases are asked for than there are.
    """
    training = [case for case in dataset.cases if case.split in (None, "train")]
    held_out = [case for case in dataset.cases if case.split == "val"]
    if validation and all(case.split is None for case in dataset.cases):
        training, held_out = _split_by_patient(training, validation, seed)
    if not training:
        raise DatasetError(
            f"none of the {len(dataset.cases)} cases is there to train on; expected some whose "
            'split is "train" or empty'
        )
    if labels is not None:
        if not 1 <= labels <= len(training):
            raise UsageError(
                f"--labels is {labels}; expected a number from 1 to {len(training)}, which is how "
                "many training cases there are"
            )
        order = rng(seed, labels).permutation(len(training))[:labels]
        training = [training[index] for index in sorted(order)]
    return Cases(tuple(training), tuple(held_out))


def _split_by_patient(
    cases: Sequence[Case], validation: float, seed: int
) -> tuple[list[Case], list[Case]]:
    patients = [case.patient for case in cases]
    parts = split_patients(patients, {"train": 1.0 - validation, "val": validation}, seed=seed)
    chosen: dict[str, list[Case]] = {"train": [], "val": []}
    for case, part in zip(cases, parts, strict=True):
        chosen[part].append(case)
    return chosen["train"], chosen["val"]
