"""Probes find what is there, do not find what is not, and never see a patient twice."""

from __future__ import annotations

import numpy as np
import pytest

from medssl.errors import DatasetError
from medssl.evaluation.probe import probe_classes, probe_numbers


def patients_of(count: int, each: int) -> list[str]:
    return [f"p{i}" for i in range(count) for _ in range(each)]


def test_separable_classes_are_told_apart() -> None:
    generator = np.random.default_rng(0)
    targets = ["a", "b", "c"] * 10
    features = generator.normal(size=(30, 8))
    features[:, :3] += 8 * np.eye(3)[[ord(t) - ord("a") for t in targets]]
    result = probe_classes(features, targets, [str(i) for i in range(30)], repeats=50)
    for scores in result.values():
        assert scores["balanced_accuracy"].value > 0.95
        assert scores["auroc"].low > 0.95


def test_features_that_know_only_the_patient_know_nothing_of_a_random_target() -> None:
    generator = np.random.default_rng(1)
    patients = patients_of(20, 6)
    fingerprint = {patient: generator.normal(size=16) * 10 for patient in set(patients)}
    features = np.array([fingerprint[p] + generator.normal(size=16) * 0.1 for p in patients])
    label = {patient: "ab"[i % 2] for i, patient in enumerate(dict.fromkeys(patients))}
    result = probe_classes(features, [label[p] for p in patients], patients, repeats=50)
    # Were a patient on both sides of a split, both probes would be right every time.
    assert result["knn"]["balanced_accuracy"].value < 0.9
    assert result["linear"]["balanced_accuracy"].value < 0.9


def test_the_same_seed_gives_the_same_figures() -> None:
    generator = np.random.default_rng(2)
    features = generator.normal(size=(24, 4))
    arguments = (features, ["x", "y"] * 12, [str(i) for i in range(24)])
    assert probe_classes(*arguments, repeats=20, seed=1) == probe_classes(
        *arguments, repeats=20, seed=1
    )


def test_numbers_are_predicted_from_a_line() -> None:
    generator = np.random.default_rng(3)
    features = generator.normal(size=(60, 5))
    ages = 50 + 10 * features[:, 0] + generator.normal(0, 0.5, 60)
    result = probe_numbers(features, ages, [str(i) for i in range(60)], repeats=50)
    assert result["linear"]["r2"].value > 0.95
    assert result["linear"]["mean_absolute_error"].value < 1.0
    assert result["knn"]["r2"].value < result["linear"]["r2"].value


@pytest.mark.parametrize(
    ("targets", "patients"),
    [
        (["a"] * 6, list("123456")),
        (["a", "a", "a", "b", "b", "b"], list("123444")),
    ],
)
def test_too_few_classes_or_patients_are_refused(targets: list, patients: list) -> None:
    with pytest.raises(DatasetError, match="two classes with two patients"):
        probe_classes(np.zeros((6, 2)), targets, patients)


def test_numbers_of_two_patients_are_refused() -> None:
    with pytest.raises(DatasetError, match="three patients"):
        probe_numbers(np.zeros((4, 2)), [1.0, 2.0, 3.0, 4.0], list("1122"))
