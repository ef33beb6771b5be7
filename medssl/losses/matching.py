"""Learning through a solver: how wrong is the best matching of two graphs, and what would help.

The solver is a black box whose answer is a step function of its costs. Its gradient is taken by
solving once more with costs moved in the direction of the loss (Vlastelica et al. 2020,
arXiv:1912.02175; for graphs Rolinek et al. 2020, arXiv:2003.11657).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from medssl.losses.graph_solver import GraphPair

__all__ = ["best_matching", "hamming", "nearest_neighbours", "unit_differences"]

# Two nodes that are one have no direction between them; keeps the slope of a difference finite.
TINY = 1e-6


class _BestMatching(torch.autograd.Function):
    """The solver, and the finite difference of its answers as its gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        node_cost: Tensor,
        edge_cost: Tensor,
        first: Tensor,
        second: Tensor,
        step: float,
        tries: int,
    ) -> tuple[Tensor, Tensor]:
        partner, nodes, edges = _solved(node_cost, edge_cost, first, second, tries, None)
        ctx.save_for_backward(node_cost, edge_cost, first, second, nodes, edges)
        ctx.step, ctx.tries, ctx.partner = step, tries, partner
        return nodes, edges

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        node_cost, edge_cost, first, second, nodes, edges = ctx.saved_tensors
        _, new_nodes, new_edges = _solved(
            node_cost + ctx.step * gradients[0],
            edge_cost + ctx.step * gradients[1],
            first,
            second,
            ctx.tries,
            ctx.partner,
        )
        by_nodes, by_edges = (new_nodes - nodes) / ctx.step, (new_edges - edges) / ctx.step
        return by_nodes, by_edges, None, None, None, None


def best_matching(
    node_cost: Tensor,
    edge_cost: Tensor,
    first: Tensor,
    second: Tensor,
    *,
    step: float,
    tries: int = 4,
) -> tuple[Tensor, Tensor]:
    """Return the cheapest matching found, see :class:`~medssl.losses.graph_solver.GraphPair`.

    The solver runs on the host, in float64.

    Args:
        node_cost: ``(n, n)``.
        edge_cost: ``(a, b)``.
        first: ``(a, 2)`` edges of the first graph.
        second: ``(b, 2)`` edges of the second graph.
        step: How far costs are moved against the loss for the gradient, times the loss's own slope.
        tries: Starts of the solver beyond the first.

    Returns:
        ``(n, n)``, 1 where two nodes are matched, and ``(a, b)``, 1 where two edges are.
    """
    with torch.autocast(node_cost.device.type, enabled=False):
        found: tuple[Tensor, Tensor] = _BestMatching.apply(  # type: ignore[no-untyped-call]
            node_cost.float(), edge_cost.float(), first, second, step, tries
        )
    return found


def _solved(
    node_cost: Tensor,
    edge_cost: Tensor,
    first: Tensor,
    second: Tensor,
    tries: int,
    start: Any,
) -> tuple[Any, Tensor, Tensor]:
    """Return the partner of each node, and matched nodes and edges as tensors of 0 and 1."""
    costs = (each.detach().double().cpu().numpy() for each in (node_cost, edge_cost))
    graphs = (each.cpu().numpy() for each in (first, second))
    pair = GraphPair(*costs, *graphs)
    partner = pair.solve(tries=tries, start=start)
    nodes = np.zeros(node_cost.shape, np.float32)
    nodes[np.arange(len(partner)), partner] = 1.0
    laid = pair.laid(partner)
    edges = np.zeros(edge_cost.shape, np.float32)
    on_edge = np.flatnonzero(laid < edge_cost.shape[1])
    edges[on_edge, laid[on_edge]] = 1.0
    device = node_cost.device
    return partner, torch.from_numpy(nodes).to(device), torch.from_numpy(edges).to(device)


def hamming(matched: Tensor) -> Tensor:
    """Return the share of nodes that are not matched with the node of their own number.

    Args:
        matched: ``(n, n)`` of 0 and 1, one 1 in each row and column.

    Returns:
        A scalar in [0, 1] whose slope is ``1 / (2 n)`` at wrong pairs and ``-1 / (2 n)`` at right
        ones.
    """
    right = torch.eye(len(matched), device=matched.device)
    wrong = matched * (1.0 - right) + right * (1.0 - matched)
    return wrong.sum() / (2 * len(matched))


def nearest_neighbours(vectors: Tensor, count: int) -> Tensor:
    """Return edges from each vector to those it is most like, ``(n * count, 2)``.

    Args:
        vectors: ``(n, D)`` of length 1.
        count: Edges that leave each, as far as there are so many others.
    """
    with torch.no_grad():
        likeness = (vectors @ vectors.T).fill_diagonal_(-torch.inf)
        near = likeness.topk(min(count, len(vectors) - 1), dim=1).indices
        tails = torch.arange(len(vectors), device=vectors.device)[:, None].expand_as(near)
        return torch.stack([tails.flatten(), near.flatten()], dim=1)


def unit_differences(vectors: Tensor, edges: Tensor) -> Tensor:
    """Return the direction from the end of each edge to its beginning, ``(edges, D)``."""
    apart = vectors[edges[:, 0]] - vectors[edges[:, 1]]
    return apart * (apart.square().sum(dim=1, keepdim=True) + TINY).rsqrt()
