"""BYOL, SimSiam, Barlow Twins, VICReg and MMCR: which terms, between what, with what weights."""

import pytest
import torch
from contracts.test_methods import CPU, build, make_batch

from medssl.errors import ConfigError
from medssl.losses.prediction import cosine_distance
from medssl.methods import BYOL
from medssl.training.config import OptimConfig
from medssl.training.module import TrainingPlan, batch_generator


def made(method):
    batch = make_batch(method)
    return method.views_and_targets(batch, batch_generator(0, 0, CPU))


def loss_of(method, views, targets):
    return method.loss(views, targets, torch.Generator().manual_seed(0))


def cosine(a, b):
    a, b = a.detach().double(), b.detach().double()
    return float((a @ b) / (a.norm() * b.norm()))


def mean_cosine(first, second):
    return sum(cosine(a, b) for a, b in zip(first, second, strict=True)) / len(first)


def test_cosine_distance_agrees_with_a_loop_and_stops_the_gradient():
    first, second = torch.randn(5, 8).requires_grad_(), torch.randn(5, 8).requires_grad_()
    distance = cosine_distance(first, second)
    distance.backward()
    assert distance.item() == pytest.approx(1 - mean_cosine(first, second), rel=1e-5)
    assert second.grad is None


def test_byol_predicts_the_teachers_embedding_of_the_other_view():
    method = build("byol", {"norm": "layer"}, "cnn", 3)
    with torch.no_grad():
        for parameter in method.teacher_head.module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    views, targets = made(method)
    predicted = [method.predictor(method.head(method.encoder.embed(view))) for view in views]
    taught = [method.teacher_head.module(method.encoder.embed(view)) for view in views]
    expected = [2 - 2 * mean_cosine(predicted[i], taught[1 - i]) for i in range(2)]
    loss = loss_of(method, views, targets)["loss"]
    assert loss.item() == pytest.approx(sum(expected) / 2, rel=1e-4)


def test_byols_teacher_slows_down_and_users_get_the_student(monkeypatch):
    method = build("byol", {"momentum": 0.5}, "cnn", 3)
    assert method.exported_encoder() is method.encoder
    method.plan = TrainingPlan(OptimConfig(), 1)
    with torch.no_grad():
        method.head[0].weight.add_(1.0)
    before = method.teacher_head.module[0].weight.clone()
    method.after_step(1)
    assert not torch.equal(method.teacher_head.module[0].weight, before)
    monkeypatch.setattr(BYOL, "global_step", 1)  # the run is over
    before = method.teacher_head.module[0].weight.clone()
    method.after_step(1)
    assert torch.equal(method.teacher_head.module[0].weight, before)


def test_simsiam_predicts_its_own_embedding_of_the_other_view():
    method = build("simsiam", {"norm": "layer"}, "cnn", 3)
    views, targets = made(method)
    embedded = [method.head(method.encoder.embed(view)) for view in views]
    expected = [-mean_cosine(method.predictor(embedded[i]), embedded[1 - i]) for i in range(2)]
    loss = loss_of(method, views, targets)["loss"]
    assert loss.item() == pytest.approx(sum(expected) / 2, rel=1e-4)


@pytest.mark.parametrize("name", ["byol", "simsiam"])
def test_a_computed_predictor_has_no_weights_and_follows_after_the_step(name):
    method = build(name, {"predictor": "direct"}, "cnn", 3)
    assert not list(method.predictor.parameters())
    loss_of(method, *made(method))
    assert torch.equal(method.predictor.weight, torch.eye(16))
    method.after_step(1)
    assert not torch.equal(method.predictor.weight, torch.eye(16))


def test_barlow_twins_weighs_redundancy():
    method = build("barlow_twins", {"redundancy_weight": 0.25}, "cnn", 3)
    losses = loss_of(method, *made(method))
    expected = losses["disagreement"] + 0.25 * losses["redundancy"]
    torch.testing.assert_close(losses["loss"], expected)


def test_vicreg_weighs_its_terms_as_the_paper():
    method = build("vicreg", {}, "cnn", 3)
    views, targets = made(method)
    losses = loss_of(method, views, targets)
    first, second = (method.head(method.encoder.embed(view)).double() for view in views)
    variance = [
        (1 - (view.var(dim=0) + 1e-4).sqrt()).clamp(min=0).mean() for view in (first, second)
    ]
    apart = [
        (torch.cov(view.T).square().sum() - view.var(dim=0).square().sum()) / 16
        for view in (first, second)
    ]
    expected = 25 * (first - second).square().mean() + 25 * sum(variance) / 2 + sum(apart)
    assert losses["loss"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_mmcr_takes_any_number_of_views_and_the_centre_of_each_crop():
    method = build("mmcr", {"views_a_crop": 3, "local_weight": 0.5}, "cnn", 3)
    views, targets = made(method)
    assert len(views) == 3
    rows = [method.head(method.encoder.embed(view)).double() for view in views]
    unit = torch.stack([row / row.norm(dim=1, keepdim=True) for row in rows], dim=1)
    centres = torch.linalg.matrix_norm(unit.mean(dim=1), "nuc")
    around = torch.linalg.matrix_norm(unit, "nuc").mean()
    loss = loss_of(method, views, targets)["loss"]
    assert loss.item() == pytest.approx((0.5 * around - centres).item(), rel=1e-4)


def test_mmcr_needs_two_views_of_each_crop():
    method = build("mmcr", {}, "cnn", 3)
    with pytest.raises(ConfigError, match="at least 2"):
        type(method)(encoder=method.encoder, patch=method.patch, views_a_crop=1)
