"""What SwAV predicts, and what its prototypes and its queue do."""

import pytest
import torch
from contracts.test_methods import CPU, build, make_batch

from medssl.errors import ConfigError
from medssl.losses.assignment import sinkhorn
from medssl.methods import SwAV
from medssl.training.module import batch_generator


def made(method):
    batch = make_batch(method)
    return method.views_and_targets(batch, batch_generator(0, 0, CPU))


def loss_of(method, views, targets):
    return method.loss(views, targets, torch.Generator().manual_seed(0))["loss"]


def scores_of(method, views):
    rows = [torch.nn.functional.normalize(method.head(method.encoder.embed(v))) for v in views]
    return [row @ torch.nn.functional.normalize(method.prototypes).T for row in rows]


def test_each_view_predicts_the_assignments_of_the_large_ones():
    method = build("swav", {"local_views": 2}, "cnn", 3)
    views, targets = made(method)
    assert [tuple(view.shape[2:]) for view in views] == [(16, 16, 16)] * 2 + [(8, 8, 8)] * 2
    scores = scores_of(method, views)
    losses = [
        -(sinkhorn(scores[asked]) * (scores[view] / 0.1).log_softmax(dim=1)).sum(dim=1).mean()
        for asked in range(2)
        for view in range(4)
        if view != asked
    ]
    torch.testing.assert_close(loss_of(method, views, targets), sum(losses) / 6)


def test_the_length_of_a_prototype_does_not_matter():
    method = build("swav", {}, "cnn", 3)
    views, targets = made(method)
    before = loss_of(method, views, targets)
    with torch.no_grad():
        method.prototypes.mul_(7.0)
    torch.testing.assert_close(loss_of(method, views, targets), before)


def test_the_queue_helps_to_balance_as_far_as_it_is_filled():
    method, plain = (build("swav", options, "cnn", 3) for options in ({"queue": 32}, {}))
    plain.load_state_dict({k: v for k, v in method.state_dict().items() if "queue" not in k})
    views, targets = made(method)
    torch.testing.assert_close(loss_of(method, views, targets), loss_of(plain, views, targets))
    method.after_step(1)
    rows = len(views[0])
    assert method.queue.filled.sum() == 2 * rows
    scores = scores_of(method, views)
    past = method.queue.rows[: 2 * rows] @ torch.nn.functional.normalize(method.prototypes).T
    codes = [sinkhorn(torch.cat([each, past]))[:rows] for each in scores]
    losses = [
        -(codes[i] * (scores[1 - i] / 0.1).log_softmax(dim=1)).sum(dim=1).mean() for i in range(2)
    ]
    torch.testing.assert_close(loss_of(method, views, targets), sum(losses) / 2)


def test_prototypes_stay_at_first(monkeypatch):
    method = build("swav", {"frozen": 0.5}, "cnn", 3)
    views, targets = made(method)
    loss_of(method, views, targets).backward()
    assert method.prototypes.grad.abs().max() == 0
    monkeypatch.setattr(SwAV, "progress", 0.6)
    loss_of(method, views, targets).backward()
    assert method.prototypes.grad.abs().max() > 0


def test_one_prototype_is_refused():
    method = build("swav", {}, "cnn", 3)
    with pytest.raises(ConfigError, match="2 or more"):
        type(method)(encoder=method.encoder, patch=method.patch, prototypes=1)
