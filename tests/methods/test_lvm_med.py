"""LVM-Med's costs against loops, and that both nodes and edges decide and learn."""

import itertools

import numpy as np
import pytest
import torch

from medssl.encoders import build_encoder
from medssl.errors import ConfigError
from medssl.methods import LVMMed

COUNT = 4


def build(**options):
    torch.manual_seed(0)
    encoder = build_encoder("resenc_s", patch=(8, 8, 8), features=(4, 6), blocks=(1, 1))
    return LVMMed(encoder=encoder, patch=(8, 8, 8), **{**LVMMed.tiny(), "noise": 0.0, **options})


@pytest.fixture
def views():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(COUNT, 1, 8, 8, 8, generator=generator) for _ in range(2)]


def unit(vector):
    return vector / vector.norm()


def naive_described(method, view):
    """Nodes after one message from their two nearest, their edges, and their parts."""
    with torch.no_grad():
        features = method.encoder(view)[-1]
        nodes = method.head(features.mean(dim=(2, 3, 4)))
        pooled = torch.nn.functional.adaptive_avg_pool3d(features, 3)
        parts = [method.local_head(each.flatten(1).T) for each in pooled]
        edges, told = [], []
        for i in range(COUNT):
            others = [j for j in range(COUNT) if j != i]
            others.sort(key=lambda j, i=i: -float(unit(nodes[i]) @ unit(nodes[j])))
            edges += [(i, j) for j in others[:2]]
            heard = sum(nodes[j] for j in others[:2]) / 2
            told.append(nodes[i] + method.message(torch.cat([nodes[i], heard])[None])[0])
    return told, edges, parts


def naive_cost(method, one, two, order, *, margin):
    """The card's c_v v + c_e e of one assignment."""
    told, edges, parts = zip(one, two, strict=True)
    total = 0.0
    for i, k in enumerate(order):
        whole = float(unit(told[0][i]) @ unit(told[1][k]))
        across = [[float(unit(p) @ unit(q)) for q in parts[1][k]] for p in parts[0][i]]
        same = np.mean([across[n][n] for n in range(len(across))])
        local = (same + np.mean([max(row) for row in across])) / 2
        total += margin * (i == k) - 0.8 * whole - 0.2 * local
    for i, j in edges[0]:
        if (order[i], order[j]) in edges[1]:
            first = unit(told[0][i] - told[0][j])
            second = unit(told[1][order[i]] - told[1][order[j]])
            total -= 0.5 * COUNT / len(edges[0]) * float(first @ second)
    return total


@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_the_loss_is_that_of_the_cheapest_assignment(views, margin):
    method = build(margin=margin)
    loss = method.loss(views, {}, torch.Generator())["loss"].item()
    one, two = (naive_described(method, view) for view in views)
    orders = itertools.permutations(range(COUNT))
    best = min(orders, key=lambda order: naive_cost(method, one, two, order, margin=margin))
    assert loss == pytest.approx(np.mean([i != k for i, k in enumerate(best)]))


def test_without_a_margin_what_is_matched_teaches_nothing(views):
    """The loss counts wrong pairs: a fresh network that tells crops apart would stay as it is."""
    changed = [views[0], views[0] + 0.01 * views[1]]
    for margin, teaches in ((0.0, False), (2.5, True)):
        method = build(margin=margin)
        losses = method.loss(changed, {}, torch.Generator())
        assert losses["found"] == 1
        losses["loss"].backward()
        moved = max(float(p.grad.abs().max()) for p in method.encoder.parameters())
        assert (losses["loss"] > 0) == teaches
        assert (moved > 0) == teaches


def test_edges_alone_teach_too(views):
    method = build(global_share=0.0, edge_weight=2.0)
    method.loss(views, {}, torch.Generator())["loss"].backward()
    assert method.message[0].weight.grad.abs().max() > 0


def test_noise_comes_from_the_generator(views):
    method = build(noise=5.0)
    losses = [
        method.loss(views, {}, torch.Generator().manual_seed(seed))["loss"].item()
        for seed in (0, 0, 1, 2, 3)
    ]
    assert losses[0] == losses[1]
    assert len(set(losses)) > 1


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ConfigError, match="step above 0"):
        build(step=0.0)
