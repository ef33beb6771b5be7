import pytest
from torch import nn

from medssl.training.config import OptimConfig
from medssl.training.optim import build_optimizer, build_scheduler
from medssl.training.schedules import cosine_between, learning_rate_factor


def factors(schedule, final_ratio=0.0, warmup=0.1, total=100):
    return [
        learning_rate_factor(s, total, warmup=warmup, schedule=schedule, final_ratio=final_ratio)
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
