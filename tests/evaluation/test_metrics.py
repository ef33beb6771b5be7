"""Scores of masks and of class probabilities against ten-line loops and against MONAI."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from medssl.evaluation.metrics import (
    SEGMENTATION_SCORES,
    area_under_roc,
    average_precision,
    classification_scores,
    expected_calibration_error,
    label_scores,
    segmentation_scores,
    surface_distances_mm,
)

SPACING = (1.0, 0.7, 2.5)


def blob(seed: int, shape: tuple[int, ...] = (11, 9, 8)) -> np.ndarray:
    """Return an irregular connected-looking mask that touches a border."""
    generator = np.random.default_rng(seed)
    centre = np.array(shape) * generator.uniform(0.2, 0.6, len(shape))
    grid = np.indices(shape).reshape(len(shape), -1).T
    distance = np.abs(grid - centre).sum(axis=1) + generator.normal(0, 0.8, len(grid))
    return (distance < 6).reshape(shape)


def naive_surface(mask: np.ndarray) -> list[tuple[int, ...]]:
    """Return the voxels of a mask with a face neighbour that is not the mask."""
    found = []
    for place in map(tuple, np.argwhere(mask)):
        for axis, step in itertools.product(range(mask.ndim), (-1, 1)):
            other = tuple(p + step * (a == axis) for a, p in enumerate(place))
            inside = all(0 <= o < n for o, n in zip(other, mask.shape, strict=True))
            if not inside or not mask[other]:
                found.append(place)
                break
    return found


def naive_distances(first: np.ndarray, second: np.ndarray, spacing) -> list[float]:
    """Return, for each surface voxel of the first mask, the way to the second surface."""
    others = naive_surface(second)
    return [
        min(
            math.dist(
                [p * s for p, s in zip(a, spacing, strict=True)],
                [q * s for q, s in zip(b, spacing, strict=True)],
            )
            for b in others
        )
        for a in naive_surface(first)
    ]


@pytest.mark.parametrize("seed", [0, 1])
def test_scores_equal_naive_loops(seed: int) -> None:
    predicted, reference = blob(seed), blob(seed + 10)
    there = naive_distances(predicted, reference, SPACING)
    back = naive_distances(reference, predicted, SPACING)
    scores = label_scores(predicted, reference, spacing_mm=SPACING, nsd_tolerance_mm=1.5)
    overlap = sum(bool(a and b) for a, b in zip(predicted.flat, reference.flat, strict=True))
    assert scores.dice == pytest.approx(2 * overlap / (predicted.sum() + reference.sum()))
    assert scores.nsd == pytest.approx(
        sum(d <= 1.5 for d in there + back) / len(there + back), abs=1e-12
    )
    assert scores.hd95_mm == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)))
    assert scores.predicted_ml == pytest.approx(predicted.sum() * 1.0 * 0.7 * 2.5 / 1000)


def test_surface_distances_are_those_of_a_loop_in_two_dimensions() -> None:
    first, second = blob(3, (15, 13)), blob(4, (15, 13))
    there, back = surface_distances_mm(first, second, spacing_mm=(0.5, 2.0))
    assert sorted(there) == pytest.approx(sorted(naive_distances(first, second, (0.5, 2.0))))
    assert sorted(back) == pytest.approx(sorted(naive_distances(second, first, (0.5, 2.0))))


@pytest.mark.filterwarnings("ignore")
def test_distances_agree_with_monai() -> None:
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    predicted, reference = blob(5, (20, 18, 16)), blob(6, (20, 18, 16))
    scores = label_scores(predicted, reference, spacing_mm=SPACING, nsd_tolerance_mm=2.0)
    pair = [torch.from_numpy(m)[None, None].float() for m in (predicted, reference)]
    options = {"include_background": True, "spacing": SPACING}
    hd95 = compute_hausdorff_distance(*pair, percentile=95, **options)
    nsd = compute_surface_dice(*pair, class_thresholds=[2.0], **options)
    assert scores.hd95_mm == pytest.approx(float(hd95), rel=1e-5)
    assert scores.nsd == pytest.approx(float(nsd), rel=1e-5)


def test_a_shift_by_one_slice_is_one_slice_distance_away() -> None:
    mask = np.zeros((20, 20, 20), dtype=bool)
    mask[5:10, 5:10, 5:10] = True
    scores = label_scores(np.roll(mask, 1, axis=2), mask, spacing_mm=(1.0, 1.0, 5.0))
    assert scores.hd95_mm == pytest.approx(5.0)
    assert scores.volume_error_ml == 0.0
    exact = label_scores(mask, mask, spacing_mm=(1.0, 1.0, 5.0))
    assert (exact.dice, exact.nsd, exact.hd95_mm) == (1.0, 1.0, 0.0)


def test_a_distance_of_exactly_the_tolerance_agrees() -> None:
    mask = np.zeros((10, 10), dtype=bool)
    mask[2:5, 2:5] = True
    moved = label_scores(
        np.roll(mask, 1, axis=0), mask, spacing_mm=(0.1, 0.1), nsd_tolerance_mm=0.1
    )
    assert moved.nsd == 1.0


def test_an_absent_label_that_is_not_predicted_has_no_overlap_to_score() -> None:
    nothing = np.zeros((5, 5, 5), dtype=bool)
    scores = label_scores(nothing, nothing, spacing_mm=SPACING)
    assert all(math.isnan(v) for v in (scores.dice, scores.nsd, scores.hd95_mm))
    assert scores.volume_error_ml == 0.0
    assert math.isnan(scores.volume_error_percent)


@pytest.mark.parametrize("missed", [True, False])
def test_a_missed_or_invented_label_gets_the_worst_scores(missed: bool) -> None:
    nothing, something = np.zeros((6, 8, 4), dtype=bool), np.zeros((6, 8, 4), dtype=bool)
    something[1:3, 1:3, 1:3] = True
    pair = (nothing, something) if missed else (something, nothing)
    scores = label_scores(*pair, spacing_mm=SPACING)
    assert (scores.dice, scores.nsd) == (0.0, 0.0)
    assert scores.hd95_mm == pytest.approx(math.hypot(6 * 1.0, 8 * 0.7, 4 * 2.5))
    if missed:
        assert scores.volume_error_percent == -100.0
    else:
        assert math.isnan(scores.volume_error_percent)


def test_labels_are_scored_apart() -> None:
    reference = np.zeros((8, 8, 8), dtype=np.int16)
    reference[1:4] = 1
    reference[5:7] = 4
    predicted = np.where(reference == 4, 0, reference)
    scores = segmentation_scores(
        predicted, reference, labels={"liver": 1, "spleen": 4}, spacing_mm=(1, 1, 1)
    )
    assert scores["liver"].dice == 1.0
    assert scores["spleen"].dice == 0.0
    assert all(hasattr(scores["liver"], name) for name in SEGMENTATION_SCORES)


def test_grids_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="one grid"):
        label_scores(np.zeros((4, 4, 4), bool), np.zeros((4, 4, 5), bool), spacing_mm=SPACING)


def naive_auroc(positive: np.ndarray, score: np.ndarray) -> float:
    wins = [
        1.0 if a > b else 0.5 if a == b else 0.0 for a in score[positive] for b in score[~positive]
    ]
    return sum(wins) / len(wins)


def naive_average_precision(positive: np.ndarray, score: np.ndarray) -> float:
    total = 0.0
    for rank, index in enumerate(np.argsort(-score), start=1):
        if positive[index]:
            total += positive[np.argsort(-score)[:rank]].sum() / rank
    return total / positive.sum()


@pytest.mark.parametrize("classes", [2, 4])
def test_classification_scores_equal_naive_loops(classes: int) -> None:
    generator = np.random.default_rng(classes)
    targets = generator.integers(0, classes, 40)
    logits = generator.normal(size=(40, classes)) + 1.2 * np.eye(classes)[targets]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    scores = classification_scores(targets, probabilities)
    ranked = [1] if classes == 2 else range(classes)
    pairs = [(targets == c, probabilities[:, c]) for c in ranked]
    assert scores["auroc"] == pytest.approx(np.mean([naive_auroc(*p) for p in pairs]))
    assert scores["average_precision"] == pytest.approx(
        np.mean([naive_average_precision(*p) for p in pairs])
    )
    recalls = [np.mean(probabilities[targets == c].argmax(1) == c) for c in range(classes)]
    assert scores["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    squares = sum(
        (probabilities[i, c] - (targets[i] == c)) ** 2 for i in range(40) for c in range(classes)
    )
    assert scores["brier"] == pytest.approx(squares / 40 / (2 if classes == 2 else 1))


def test_rankings_with_ties_agree_with_scikit_learn() -> None:
    from sklearn.metrics import average_precision_score, roc_auc_score

    generator = np.random.default_rng(7)
    positive = generator.random(60) < 0.3
    scores = generator.integers(0, 6, 60) / 5 + positive * 0.2
    assert area_under_roc(positive, scores) == pytest.approx(roc_auc_score(positive, scores))
    expected = average_precision_score(positive, scores)
    assert average_precision(positive, scores) == pytest.approx(expected)


def test_calibration_error_is_the_gap_of_confidence_and_accuracy() -> None:
    probabilities = np.array([[0.95, 0.05]] * 10 + [[0.35, 0.65]] * 10)
    targets = np.array([0] * 8 + [1] * 2 + [1] * 5 + [0] * 5)
    expected = (abs(0.8 - 0.95) * 10 + abs(0.5 - 0.65) * 10) / 20
    assert expected_calibration_error(targets, probabilities) == pytest.approx(expected)


def test_certain_and_right_is_perfect() -> None:
    targets = np.array([0, 1, 2, 1])
    scores = classification_scores(targets, np.eye(3)[targets])
    assert scores["auroc"] == scores["average_precision"] == scores["balanced_accuracy"] == 1.0
    assert scores["calibration_error"] == scores["brier"] == 0.0


def test_one_class_alone_has_no_ranking() -> None:
    scores = classification_scores(np.zeros(4, int), np.full((4, 2), 0.5))
    assert math.isnan(scores["auroc"])
    assert not math.isnan(scores["brier"])


@pytest.mark.parametrize(
    ("targets", "probabilities"),
    [
        ([0, 1], [[0.5, 0.5]]),
        ([0, 2], [[0.5, 0.5], [0.5, 0.5]]),
        ([0, 1], [[0.5, 0.9], [0.5, 0.5]]),
        ([], np.empty((0, 2))),
    ],
)
def test_tables_that_do_not_fit_are_refused(targets, probabilities) -> None:
    with pytest.raises(ValueError, match=r".+"):
        classification_scores(np.array(targets, int), np.array(probabilities))
