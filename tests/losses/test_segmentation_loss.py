import itertools
import math

import pytest
import torch

from medssl.errors import ConfigError
from medssl.losses.segmentation import deep_supervision, dice_ce, soft_dice


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=[(2, 3, 4, 3, 2), (2, 4, 5, 4)], ids=["3d", "2d"])
def case(request):
    batch, classes, *spatial = request.param
    logits = torch.randn(request.param, generator=generator(1))
    target = torch.randint(0, classes, (batch, *spatial), generator=generator(2))
    return logits, target


def naive(logits, target, *, include_background, per_sample):
    batch, classes, *spatial = logits.shape
    probability = logits.double().softmax(dim=1)
    places = list(itertools.product(*map(range, spatial)))
    entropy = 0.0
    common = [[0.0] * classes for _ in range(batch)]
    total = [[0.0] * classes for _ in range(batch)]
    for b in range(batch):
        for place in places:
            truth = int(target[(b, *place)])
            entropy -= math.log(float(probability[(b, truth, *place)])) / (batch * len(places))
            for k in range(classes):
                p = float(probability[(b, k, *place)])
                common[b][k] += p * (truth == k)
                total[b][k] += p + (truth == k)
    if not per_sample:
        common = [[sum(row[k] for row in common) for k in range(classes)]]
        total = [[sum(row[k] for row in total) for k in range(classes)]]
    scores = [
        (2 * c + 1e-5) / (t + 1e-5)
        for c_row, t_row in zip(common, total, strict=True)
        for c, t in list(zip(c_row, t_row, strict=True))[0 if include_background else 1 :]
    ]
    return 1 - sum(scores) / len(scores) + entropy


@pytest.mark.parametrize("include_background", [True, False])
@pytest.mark.parametrize("per_sample", [True, False])
def test_it_agrees_with_a_loop(case, include_background, per_sample):
    options = {"include_background": include_background, "per_sample": per_sample}
    loss = dice_ce(*case, **options)
    assert float(loss) == pytest.approx(naive(*case, **options), rel=1e-5)


def test_weights_weigh_the_two_parts(case):
    dice = dice_ce(*case, ce_weight=0)
    entropy = dice_ce(*case, dice_weight=0)
    mixed = dice_ce(*case, dice_weight=0.3, ce_weight=2.0)
    torch.testing.assert_close(mixed, 0.3 * dice + 2.0 * entropy)


def test_labels_with_or_without_a_channel_and_of_any_integer_are_the_same(case):
    logits, target = case
    expected = dice_ce(logits, target)
    assert torch.equal(dice_ce(logits, target.unsqueeze(1)), expected)
    assert torch.equal(dice_ce(logits, target.to(torch.int16)), expected)


def test_a_sure_right_answer_costs_nothing_even_where_a_class_is_absent():
    target = torch.zeros(1, 6, 6, dtype=torch.long)
    target[0, 2:4, 2:4] = 1
    logits = torch.nn.functional.one_hot(target, 3).movedim(-1, 1).float() * 60
    assert dice_ce(logits, target) < 1e-4


def test_it_is_computed_in_float32(case):
    logits, target = case
    low = dice_ce(logits.bfloat16(), target)
    assert low.dtype == torch.float32
    assert torch.equal(low, dice_ce(logits.bfloat16().float(), target))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(dice_ce(logits, target), dice_ce(logits, target))


def test_scores_are_one_a_class(case):
    logits, target = case
    assert soft_dice(logits, target).shape == (2, logits.shape[1] - 1)
    assert soft_dice(logits, target, include_background=True).shape == tuple(logits.shape[:2])
    assert soft_dice(logits, target, per_sample=False).shape == (1, logits.shape[1] - 1)


def test_labels_of_another_shape_are_refused(case):
    logits, target = case
    with pytest.raises(ValueError, match="one label a voxel"):
        dice_ce(logits, target[:, :-1])


def test_one_channel_is_no_segmentation():
    with pytest.raises(ValueError, match="at least one class"):
        dice_ce(torch.zeros(1, 1, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long))


def test_levels_weigh_half_of_the_one_before():
    target = torch.randint(0, 3, (2, 8, 8, 8), generator=generator())
    levels = [torch.randn(2, 3, *[n] * 3, generator=generator(n)) for n in (8, 4, 2)]
    # Going from 8 to 4 voxels, the centre of a coarse voxel falls between two; the later is taken.
    targets = [target, target[:, 1::2, 1::2, 1::2], target[:, 2::4, 2::4, 2::4]]
    parts = [float(dice_ce(z, y)) for z, y in zip(levels, targets, strict=True)]
    expected = (parts[0] + parts[1] / 2 + parts[2] / 4) / 1.75
    assert float(deep_supervision(levels, target)) == pytest.approx(expected, rel=1e-5)


def test_one_level_is_the_plain_loss(case):
    logits, target = case
    torch.testing.assert_close(deep_supervision([logits], target), dice_ce(logits, target))
    with_channel = deep_supervision([logits], target.unsqueeze(1))
    torch.testing.assert_close(with_channel, dice_ce(logits, target))


def test_every_level_gets_a_gradient():
    target = torch.randint(0, 2, (1, 8, 8, 4), generator=generator())
    levels = [torch.zeros(1, 2, *shape, requires_grad=True) for shape in ((8, 8, 4), (4, 4, 4))]
    deep_supervision(levels, target).backward()
    assert all(level.grad.abs().sum() > 0 for level in levels)


def test_no_level_is_refused():
    with pytest.raises(ConfigError, match="at least one level"):
        deep_supervision([], torch.zeros(1, 4, 4))
