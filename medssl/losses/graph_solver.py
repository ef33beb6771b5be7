"""Second-order matching of two graphs: which node of one is which node of the other.

An assignment of nodes costs the sum over its pairs of nodes and over the pairs of edges that it
lays on each other (a quadratic assignment problem, which no known method solves fast and for
certain). Here a first-order solution is improved until neither a new assignment of the linearised
problem nor any exchange of two nodes is better, from several starts; a lower bound (Gilmore 1962,
Lawler 1963) says how far from the best the answer can be at most. A few nodes are tried in every
order, so that their answer is the best.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

__all__ = ["GraphPair", "assign"]

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

# A change has to be worth more than rounding, or two equal answers could take turns for ever.
WORTH = 1e-9


@dataclass(frozen=True, eq=False)
class GraphPair:
    """Two directed graphs of as many nodes each, and what laying one on the other costs.

    Attributes:
        node_cost: ``(n, n)``, of calling node ``i`` of the first graph node ``k`` of the second.
        edge_cost: ``(a, b)``, of laying edge ``i`` of the first graph on edge ``k`` of the second;
            an edge that is laid on no edge costs nothing.
        first: ``(a, 2)`` edges of the first graph, from node to node; no loops, none twice.
        second: ``(b, 2)`` edges of the second graph.

    Example:
        >>> line = np.array([[0, 1], [1, 2]])
        >>> turned = np.array([[2, 1], [1, 0]])
        >>> pair = GraphPair(np.zeros((3, 3)), -np.ones((2, 2)), line, turned)
        >>> pair.solve().tolist(), pair.lower_bound()
        ([2, 1, 0], -2.0)
    """

    node_cost: Floats
    edge_cost: Floats
    first: Indices
    second: Indices

    @functools.cached_property
    def _padded(self) -> Floats:
        """Edge costs with a last column for edges that are laid on none."""
        return np.pad(self.edge_cost, ((0, 0), (0, 1)))

    @functools.cached_property
    def _edge_between(self) -> Indices:
        """The number of the second graph's edge between two nodes; one past the last for none."""
        count = len(self.node_cost)
        table = np.full((count, count), len(self.second))
        table[self.second[:, 0], self.second[:, 1]] = np.arange(len(self.second))
        return table

    def laid(self, partner: Indices) -> Indices:
        """Return the edge of the second graph that each edge of the first is laid on, or ``b``."""
        found: Indices = self._edge_between[partner[self.first[:, 0]], partner[self.first[:, 1]]]
        return found

    def cost(self, partner: Indices) -> float:
        """Return what an assignment costs.

        Args:
            partner: ``(n,)``, the node of the second graph for each of the first.
        """
        nodes = self.node_cost[np.arange(len(partner)), partner].sum()
        return float(nodes + self._padded[np.arange(len(self.first)), self.laid(partner)].sum())

    def linearised(self, partner: Indices) -> Floats:
        """Return ``(n, n)``: what each pair of nodes costs if all other nodes stay as they are."""
        linear = self.node_cost.copy()
        tail, head = self.first.T
        edge = np.arange(len(self.first))[:, None]
        np.add.at(linear, tail, self._padded[edge, self._edge_between[:, partner[head]].T])
        np.add.at(linear, head, self._padded[edge, self._edge_between[partner[tail]]])
        return linear

    def exchanges(self, partner: Indices) -> Floats:
        """Return ``(n, n)``: by how much the cost changes if two nodes exchange partners."""
        linear = self.linearised(partner)[:, partner]
        own = linear.diagonal()
        change = linear + linear.T - own[:, None] - own
        # An edge between the two was taken off twice and its new place was never put in.
        tail, head = self.first.T
        edge = np.arange(len(self.first))
        turned = self._edge_between[partner[head], partner[tail]]
        between = np.zeros_like(linear)
        np.add.at(
            between,
            (tail, head),
            self._padded[edge, self.laid(partner)] + self._padded[edge, turned],
        )
        return change + between + between.T

    def improved(self, partner: Indices) -> Indices:
        """Return an assignment that no step makes better, reached from the given one."""
        cost = self.cost(partner)
        while True:
            new = assign(self.linearised(partner))
            if self.cost(new) >= cost - WORTH:
                change = self.exchanges(partner)
                one, two = np.unravel_index(int(change.argmin()), change.shape)
                new = partner.copy()
                new[[one, two]] = partner[[two, one]]
            better = self.cost(new)
            if better >= cost - WORTH:
                return partner
            partner, cost = new, better

    def solve(self, *, tries: int = 16, start: Indices | None = None, exact: int = 7) -> Indices:
        """Return the best assignment found, ``(n,)``.

        The same graphs give the same answer.

        Args:
            tries: How often the search starts anew, in turns from the best assignment so far with a
                part of it shuffled and from a random one.
            start: An assignment to begin with, beside that of the nodes alone.
            exact: Nodes up to which all assignments are looked at, so that the answer is the best.
        """
        count = len(self.node_cost)
        if count <= exact:
            return self._best_of_all()
        starts = [assign(self.node_cost)] + ([] if start is None else [start])
        best = min((self.improved(begin) for begin in starts), key=self.cost)
        generator = np.random.default_rng(count)
        for number in range(tries):
            begin = best.copy()
            moved = generator.choice(count, count if number % 2 else count // 2, replace=False)
            begin[moved] = best[generator.permutation(moved)]
            best = min((best, self.improved(begin)), key=self.cost)
        return best

    def _best_of_all(self) -> Indices:
        """Return the cheapest of all assignments."""
        count = len(self.node_cost)
        every = np.array(list(itertools.permutations(range(count))))
        cost = self.node_cost[np.arange(count), every].sum(axis=1)
        for edge, (tail, head) in enumerate(self.first):
            cost += self._padded[edge, self._edge_between[every[:, tail], every[:, head]]]
        best: Indices = every[cost.argmin()]
        return best

    def lower_bound(self) -> float:
        """Return a cost that no assignment is below.

        Each node pays for the edges that leave it, as if it could choose where they end by itself.
        """
        bound = self.node_cost.copy()
        for node in range(len(bound)):
            leaving = np.flatnonzero(self.first[:, 0] == node)
            for other in range(len(bound)) if len(leaving) else ():
                ends = self._padded[leaving][:, np.delete(self._edge_between[other], other)]
                bound[node, other] += ends[linear_sum_assignment(ends)].sum()
        return float(bound[linear_sum_assignment(bound)].sum())


def assign(cost: Floats) -> Indices:
    """Return the partner of each node that is cheapest in sum, ``(n,)``: nodes alone, no edges."""
    partner: Indices = linear_sum_assignment(cost)[1]
    return partner
