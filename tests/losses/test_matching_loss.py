import itertools

import numpy as np
import pytest
import torch

from medssl.losses.graph_solver import GraphPair, assign
from medssl.losses.matching import best_matching, hamming, nearest_neighbours, unit_differences


def random_pair(seed, nodes, *, edge_weight=1.0):
    """Two graphs without structure: the hardest kind for a search that goes downhill."""
    generator = np.random.default_rng(seed)
    every = np.array([(i, j) for i in range(nodes) for j in range(nodes) if i != j])
    first, second = (
        every[np.sort(generator.choice(len(every), min(3 * nodes, len(every)), replace=False))]
        for _ in range(2)
    )
    edge_cost = edge_weight * generator.normal(size=(len(first), len(second)))
    return GraphPair(generator.normal(size=(nodes, nodes)), edge_cost, first, second)


def naive_cost(pair, partner):
    """Nodes, and every pair of edges that the assignment lays on each other."""
    total = sum(pair.node_cost[i, k] for i, k in enumerate(partner))
    for a, (i, j) in enumerate(pair.first):
        for b, (k, m) in enumerate(pair.second):
            if partner[i] == k and partner[j] == m:
                total += pair.edge_cost[a, b]
    return float(total)


def test_cost_linearised_cost_and_exchanges_agree_with_a_loop():
    pair = random_pair(0, 5)
    partner = np.random.default_rng(1).permutation(5)
    cost = naive_cost(pair, partner)
    assert pair.cost(partner) == pytest.approx(cost)
    exchanges = pair.exchanges(partner)
    for one, two in itertools.combinations(range(5), 2):
        new = partner.copy()
        new[[one, two]] = partner[[two, one]]
        assert exchanges[one, two] == pytest.approx(naive_cost(pair, new) - cost)
    # all nodes together count each edge at both of its ends
    edges = cost - pair.node_cost[np.arange(5), partner].sum()
    linear = pair.linearised(partner)[np.arange(5), partner].sum()
    assert linear == pytest.approx(cost + edges)


@pytest.mark.parametrize("nodes", [2, 3, 4, 5])
def test_few_nodes_get_the_optimum(nodes):
    for seed in range(8):
        pair = random_pair(seed, nodes)
        every = itertools.permutations(range(nodes))
        best = min(naive_cost(pair, order) for order in every)
        assert naive_cost(pair, pair.solve()) == pytest.approx(best)
        assert pair.lower_bound() <= best + 1e-9


def test_the_search_beyond_finds_it_nearly_always_and_bounds_its_gap():
    found = 0
    for seed in range(20):
        pair = random_pair(seed, 6)
        best, searched = pair.cost(pair.solve()), pair.cost(pair.solve(exact=0))
        assert searched - pair.lower_bound() >= searched - best >= -1e-9
        found += searched <= best + 1e-9
    assert found >= 18


def test_nodes_alone_do_not_find_it():
    """What a first-order assignment misses: the edges decide."""
    missed = 0
    for seed in range(12):
        pair = random_pair(seed, 5)
        missed += pair.cost(assign(pair.node_cost)) > pair.cost(pair.solve()) + 1e-9
    assert missed >= 8


def test_the_bound_is_reached_where_edges_do_not_compete():
    pair = random_pair(3, 6, edge_weight=0.0)
    assert pair.lower_bound() == pytest.approx(pair.cost(pair.solve()))


def test_a_larger_graph_says_its_gap():
    """A turned copy of a graph of 24 nodes whose nodes say nothing: only edges find it."""
    generator = np.random.default_rng(0)
    turn = generator.permutation(24)
    points = torch.from_numpy(generator.normal(size=(24, 3)))
    points = torch.nn.functional.normalize(points, dim=1)
    first = nearest_neighbours(points, 4)
    second = torch.from_numpy(np.argsort(turn))[first]
    along = unit_differences(points, first)
    cost = -(along @ along.T).numpy()
    pair = GraphPair(np.zeros((24, 24)), cost, first.numpy(), second.numpy())
    found = pair.solve(tries=30)
    assert pair.cost(found) >= pair.lower_bound() - 1e-9
    assert pair.cost(found) == pytest.approx(pair.cost(np.argsort(turn)))


def test_the_gradient_is_the_finite_difference_of_the_best_answers():
    pair = random_pair(4, 5)
    node_cost = torch.tensor(pair.node_cost, dtype=torch.float32, requires_grad=True)
    edge_cost = torch.tensor(pair.edge_cost, dtype=torch.float32, requires_grad=True)
    edges = [torch.from_numpy(each) for each in (pair.first, pair.second)]
    step = 40.0
    matched, _ = best_matching(node_cost, edge_cost, *edges, step=step)
    loss = hamming(matched)
    loss.backward()
    before = pair.solve()
    right = np.eye(5)
    slope = (1 - 2 * right) / 10
    moved = GraphPair(pair.node_cost + step * slope, pair.edge_cost, pair.first, pair.second)
    after = moved.solve()
    assert loss.item() == pytest.approx(np.mean(before != np.arange(5)))
    assert (before != after).any()
    np.testing.assert_allclose(node_cost.grad, (right[after] - right[before]) / step, atol=1e-6)
    laid = [naive_laid(pair, partner) for partner in (before, after)]
    np.testing.assert_allclose(edge_cost.grad, (laid[1] - laid[0]) / step, atol=1e-6)


def naive_laid(pair, partner):
    laid = np.zeros_like(pair.edge_cost)
    for a, (i, j) in enumerate(pair.first):
        for b, (k, m) in enumerate(pair.second):
            laid[a, b] = partner[i] == k and partner[j] == m
    return laid


def test_descent_along_the_gradient_leads_to_the_right_matching():
    pair = random_pair(5, 6, edge_weight=0.3)
    node_cost = torch.tensor(pair.node_cost, dtype=torch.float32, requires_grad=True)
    edge_cost = torch.tensor(pair.edge_cost, dtype=torch.float32, requires_grad=True)
    edges = [torch.from_numpy(each) for each in (pair.first, pair.second)]
    optimizer = torch.optim.SGD([node_cost, edge_cost], lr=3.0)
    seen = []
    for _ in range(60):
        loss = hamming(best_matching(node_cost, edge_cost, *edges, step=60.0)[0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
    assert seen[0] > 0
    assert seen[-1] == 0


def test_nearest_neighbours_and_their_directions():
    line = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.2], [0.0, 1.0]]), dim=1)
    edges = nearest_neighbours(line, 1)
    assert edges.tolist() == [[0, 1], [1, 0], [2, 1]]
    directions = unit_differences(line, edges)
    torch.testing.assert_close(directions[0], -directions[1])
    same = torch.ones(2, 3, requires_grad=True)
    unit_differences(same, torch.tensor([[0, 1]])).sum().backward()
    assert same.grad.isfinite().all()
