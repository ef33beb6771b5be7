import numpy as np
import pytest
from torch import nn

from medssl.training.config import OptimConfig
from medssl.training.optim import build_optimizer, build_scheduler, decay_weights_by
from medssl.training.schedules import cosine_between, learning_rate_factor


def factors(schedule, final_ratio=0.0, warmup=0.1, total=100):
    return [
        learning_rate_factor(
            s, total, OptimConfig(warmup=warmup, schedule=schedule, final_lr_ratio=final_ratio)
        )
        for s in range(total + 1)
    ]


def test_warmup_rises_in_equal_steps_to_the_peak():
    rising = factors("cosine")[:10]
    assert rising == pytest.approx([(n + 1) / 10 for n in range(10)])


def test_cosine_falls_to_its_final_share():
    falling = factors("cosine", final_ratio=0.05)[10:]
    assert falling == sorted(falling, reverse=True)
    assert falling[0] == pytest.approx(1.0)
    assert falling[-1] == pytest.approx(0.05)


def test_constant_stays_at_the_peak():
    assert set(factors("constant")[10:]) == {1.0}


def test_no_warmup_starts_at_the_peak():
    assert factors("cosine", warmup=0.0)[0] == pytest.approx(1.0)


def test_cosine_between_clamps_beyond_its_ends():
    assert cosine_between(-5, 10, start=2.0, end=1.0) == 2.0
    assert cosine_between(50, 10, start=2.0, end=1.0) == pytest.approx(1.0)


def test_norms_biases_and_tokens_do_not_decay_and_encoder_has_its_rate():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Sequential(nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2))
            self.head = nn.Linear(2, 2)
            self.mask_token = nn.Parameter(self.head.weight.detach().clone())

    net = Net()
    optim = OptimConfig(lr=1.0, weight_decay=0.1, encoder_lr_ratio=0.5)
    rule = {}
    for group in build_optimizer(net, net.encoder, optim).param_groups:
        for parameter in group["params"]:
            rule[parameter] = (group["weight_decay"], group["lr"])
    assert rule[net.encoder[0].weight] == (0.1, 0.5)
    assert rule[net.encoder[0].bias] == (0.0, 0.5)
    assert rule[net.encoder[1].weight] == (0.0, 0.5)
    assert rule[net.head.weight] == (0.1, 1.0)
    assert rule[net.mask_token] == (0.0, 1.0)


def test_scheduler_keeps_the_ratio_of_groups():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Linear(2, 2)
            self.head = nn.Linear(2, 2)

    net, optim = Net(), OptimConfig(lr=1.0, encoder_lr_ratio=0.1, warmup=0.0)
    optimizer = build_optimizer(net, net.encoder, optim)
    scheduler = build_scheduler(optimizer, optim, steps=10)
    for _ in range(5):
        optimizer.step()
        scheduler.step()
    assert sorted({round(rate, 6) for rate in scheduler.get_last_lr()}) == [0.05, 0.5]


INFINITE = OptimConfig(
    schedule="infinite",
    warmup=10,
    cooldown=20,
    anneal=10,
    plateau_lr_ratio=0.4,
    final_lr_ratio=0.01,
)


def test_an_infinite_schedule_cools_down_stays_and_anneals():
    rates = [learning_rate_factor(step, 100, INFINITE) for step in range(101)]
    assert rates[9] == rates[10] == 1.0
    assert rates[10:31] == sorted(rates[10:31], reverse=True)
    assert set(np.round(rates[30:91], 9)) == {0.4}
    # exponential: equal ratios, one step after the other
    assert np.allclose(np.divide(rates[91:], rates[90:-1]), (0.01 / 0.4) ** 0.1)
    assert rates[100] == pytest.approx(0.01)


def test_a_longer_infinite_run_is_the_same_up_to_the_anneal_of_the_shorter():
    short, long = (
        [learning_rate_factor(step, total, INFINITE) for step in range(91)] for total in (100, 250)
    )
    assert short == long


def test_weight_decay_moves_where_it_is_asked_to_and_norms_keep_none():
    module = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    optim = OptimConfig(weight_decay=0.04, final_weight_decay=0.4)
    optimizer = build_optimizer(module, module, optim)
    for step, expected in ((0, 0.04), (50, 0.22), (100, 0.4)):
        decay_weights_by(optimizer, optim, step, 100)
        decays = sorted(group["weight_decay"] for group in optimizer.param_groups)
        assert decays == pytest.approx([0.0, expected])
