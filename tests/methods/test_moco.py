"""What MoCo compares with what: its queue, its keys and the negatives it makes."""

import math

import pytest
import torch
from contracts.test_methods import CPU, build, make_batch

from medssl.methods import MoCo
from medssl.training.module import batch_generator


def made(method):
    batch = make_batch(method)
    return method.views_and_targets(batch, batch_generator(0, 0, CPU))


def loss_of(method, views, targets, seed=0):
    return method.loss(views, targets, torch.Generator().manual_seed(seed))["loss"]


def embedded(method, views):
    """Return queries and keys of both views, float64 and of length 1."""
    both = torch.cat(views)
    keys = method.teacher_head.module(method.teacher_encoder.module.embed(both))
    queries = method.head(method.encoder.embed(both))
    return [(rows / rows.norm(dim=1, keepdim=True)).detach().double() for rows in (queries, keys)]


def test_queries_find_their_keys_among_those_of_the_batch_and_of_the_queue():
    method = build("moco", {"queue": 6}, "cnn", 3)
    assert isinstance(method, MoCo)
    method.queue.stage(torch.nn.functional.normalize(torch.randn(4, 16), dim=1))
    method.queue.advance()
    views, targets = made(method)
    queries, keys = embedded(method, views)
    remembered = method.queue.rows[:4].double()
    count = len(views[0])
    same = torch.block_diag(*(targets["overlap"] > 0).float())
    losses = []
    for i in range(2 * count):
        own = (i + count) % (2 * count)
        others = range(count) if own < count else range(count, 2 * count)
        terms = [
            math.exp(queries[i] @ keys[k] / 0.2)
            for k in others
            if k == own or not same[i % count, k % count]
        ]
        terms += [math.exp(queries[i] @ row / 0.2) for row in remembered]
        losses.append(-math.log(math.exp(queries[i] @ keys[own] / 0.2) / sum(terms)))
    expected = sum(losses) / len(losses)
    assert loss_of(method, views, targets).item() == pytest.approx(expected, rel=1e-4)


def test_the_queue_takes_in_keys_after_the_step_and_not_in_the_loss():
    method = build("moco", {"queue": 64}, "cnn", 3)
    views, targets = made(method)
    _, keys = embedded(method, views)
    loss_of(method, views, targets)
    assert not method.queue.filled.any()
    method.after_step(1)
    assert method.queue.filled.sum() == len(keys)
    torch.testing.assert_close(method.queue.rows[: len(keys)].double(), keys, rtol=1e-4, atol=1e-5)


class BatchNormed(torch.nn.Module):
    """An encoder with the norm through which a batch leaks."""

    name = "batch_normed"

    def __init__(self, inner):
        super().__init__()
        self.inner, self.norm = inner, torch.nn.BatchNorm3d(1)
        self.drops_tokens, self.channels = False, inner.channels

    def embed(self, x):
        return self.inner.embed(self.norm(x))


def test_a_key_does_not_depend_on_the_other_crops_of_its_batch():
    """With batch norm in training mode, as in the student, it would."""
    encoder = BatchNormed(build("moco", {}, "vit", 3).encoder)
    method = MoCo(encoder=encoder, patch=(16, 16, 16), **MoCo.tiny()).train()
    crops = torch.randn(4, 1, 16, 16, 16) * torch.tensor([1.0, 2, 3, 4]).view(4, 1, 1, 1, 1)

    def apart(embed):
        return (embed(crops)[:1] - embed(crops[:1])).abs().max()

    assert apart(method.teacher_encoder.module.embed) < 1e-6
    assert apart(method.encoder.embed) > 1e-3


def test_mixing_makes_it_harder_once_the_run_is_under_way(monkeypatch):
    method = build("moco", {"queue": 32, "mixed": 64, "hardest": 4}, "cnn", 3)
    method.queue.stage(torch.nn.functional.normalize(torch.randn(32, 16), dim=1))
    method.queue.advance()
    views, targets = made(method)
    assert method.progress == 0
    early = loss_of(method, views, targets)
    assert torch.equal(early, loss_of(method, views, targets, seed=1))
    monkeypatch.setattr(MoCo, "progress", 0.5)
    late = [loss_of(method, views, targets, seed=seed) for seed in (0, 1)]
    assert min(late) > early
    assert late[0] != late[1]


def test_users_get_the_students_encoder():
    method = build("moco", {}, "cnn", 3)
    assert method.exported_encoder() is method.encoder
