"""What tasks minimise, average and score, without a run around them."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from medssl.cohort.datasets import Case
from medssl.encoders import build_encoder
from medssl.errors import ConfigError, DatasetError
from medssl.tasks import Classification, Segmentation, list_tasks
from medssl.training.config import OptimConfig
from medssl.training.module import TrainingPlan
from medssl.types import Batch

PATCH = (16, 16, 16)


def task_of(kind, labels, **options):
    torch.manual_seed(0)
    encoder = build_encoder("resenc_s", features=(8, 16), blocks=(1, 1), in_channels=1, patch=PATCH)
    return kind(encoder=encoder, labels=labels, patch=PATCH, **options)


def case(number, target=None):
    return Case(
        id=f"c{number}",
        image=Path(f"c{number}.nii.gz"),
        label=None,
        target=target,
        patient=f"p{number}",
        split=None,
    )


def batch(labels=None, size=2):
    images = torch.randn(size, 1, 1, *PATCH, generator=torch.Generator().manual_seed(1))
    targets = {} if labels is None else {"label": labels.expand(size, 1, *PATCH)}
    return Batch(images, targets, [f"c{n}" for n in range(size)], list(range(size)))


def generator():
    return torch.Generator().manual_seed(0)


def test_both_tasks_are_found_by_name():
    assert list_tasks() == ["classification", "segmentation"]


def test_label_values_with_gaps_are_learnt_like_values_without():
    mask = torch.zeros(PATCH, dtype=torch.int16)
    mask[:8] = 1
    mask[8:12] = 2
    spread = torch.tensor([0, 4, 9], dtype=torch.int16)[mask.long()]
    dense = task_of(Segmentation, {"a": 1, "b": 2}, augmentation=0.0)
    gaps = task_of(Segmentation, {"a": 4, "b": 9}, augmentation=0.0)
    losses = [
        task.compute_losses(batch(labels), generator())["loss"].item()
        for task, labels in ((dense, mask), (gaps, spread))
    ]
    assert losses[0] == losses[1]


def test_augmentation_moves_image_and_mask_and_repeats_with_its_generator():
    mask = torch.zeros(PATCH, dtype=torch.int16)
    mask[4:12, 4:12, 4:12] = 1
    plain = task_of(Segmentation, {"a": 1}, augmentation=0.0)
    moved = task_of(Segmentation, {"a": 1}, augmentation=2.0)
    losses = [
        task.compute_losses(batch(mask, size=4), generator())["loss"].item()
        for task in (plain, moved, moved)
    ]
    assert losses[0] != losses[1]
    assert losses[1] == losses[2]


def test_dice_of_a_label_is_twice_the_overlap_over_the_sum_and_none_where_both_are_empty():
    task = task_of(Segmentation, {"a": 1, "b": 5, "never": 7})
    truth = np.zeros((4, 4, 4), np.int16)
    truth[:2], truth[2] = 1, 5
    answer = torch.zeros(4, 4, 4, 4)
    answer[1, :1], answer[2, 2:], answer[0, 1:2] = 1.0, 1.0, 1.0
    scores = task.score(answer, case(0), truth)
    assert scores["dice_a"] == pytest.approx(2 * 16 / (16 + 32))
    assert scores["dice_b"] == pytest.approx(2 * 16 / (32 + 16))
    assert math.isnan(scores["dice_never"])
    assert scores["dice"] == pytest.approx((scores["dice_a"] + scores["dice_b"]) / 2)


def test_the_model_that_answers_is_the_running_mean_of_the_weights():
    task = task_of(Segmentation, {"a": 1})
    task.plan = TrainingPlan(OptimConfig(ema=0.9))
    task.configure_model()
    weight = next(task.network.parameters())
    expected = weight.detach().clone()
    for step in range(1, 201):
        with torch.no_grad():
            weight.add_(0.1)
        task.after_step(step)
        momentum = min(0.9, (1 + step) / (10 + step))
        expected = momentum * expected + (1 - momentum) * weight.detach()
    averaged = next(task.finished_network().parameters())
    assert torch.allclose(averaged, expected, atol=1e-4)
    assert not torch.allclose(averaged, weight, atol=1e-2)
    assert not averaged.requires_grad


def test_without_a_running_mean_the_network_itself_answers():
    task = task_of(Segmentation, {"a": 1})
    task.configure_model()
    assert task.finished_network() is task.network


def test_rare_classes_weigh_more_so_that_each_counts_the_same():
    task = task_of(Classification, {"rare": 0, "common": 1}, augmentation=0.0)
    cases = [case(0, "rare")] + [case(number, "common") for number in range(1, 5)]
    task.learn_from(cases, modality="mr", spacing_mm=(1.0, 1.0, 1.0))
    assert task.class_weights.tolist() == pytest.approx([5 / 2, 5 / 8])
    logits = task.eval().network(batch().images.flatten(0, 1)).log_softmax(dim=1)
    expected = -(logits[0, 0] * 5 / 2 + logits[1, 1] * 5 / 8) / 2
    assert task.compute_losses(batch(), generator())["loss"].item() == pytest.approx(
        expected.item(), rel=1e-5
    )


def test_one_class_teaches_nothing_and_is_refused():
    task = task_of(Classification, {"a": 0, "b": 1})
    with pytest.raises(DatasetError, match="one class"):
        task.learn_from([case(0, "a"), case(1, "a")], modality="mr", spacing_mm=(1.0,) * 3)


def test_a_class_is_scored_by_whether_it_was_the_likeliest():
    task = task_of(Classification, {"a": 0, "b": 1})
    scores = task.score(torch.tensor([0.3, 0.7]), case(0, "b"), np.empty(0))
    assert scores == {"accuracy": 1.0, "true_class_probability": pytest.approx(0.7)}


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_of_frozen_steps_outside_its_range_is_refused(share):
    with pytest.raises(ConfigError, match="frozen_share"):
        task_of(Segmentation, {"a": 1}, frozen_share=share)
