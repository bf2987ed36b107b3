"""Which nodes of a graph the page is given: the most influential ones, as many as it can hold.

`prune` keeps nodes by their influence on the unpruned graph, and renormalises the edges among those. So the nodes that
a node threshold keeps, with all edges among them, are enough to prune again with any smaller node threshold and any
edge threshold: nothing of what was left out counts.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int

from circuits.edge_selection import SMALLEST
from circuits.layout import Layout

__all__ = ["Budget", "Coverage", "cover"]

NODE_BYTES = 350


@dataclass(frozen=True, slots=True)
class Budget:
    """How much the page may be given.

    Attributes:
        max_nodes: of all kinds.
        max_bytes: of the nodes and edges as text, about.
    """

    max_nodes: int = 5_000
    max_bytes: int = 3_900_000


@dataclass(frozen=True, slots=True)
class Coverage:
    """The nodes that fit, and how far they reach.

    Attributes:
        included: nodes of the graph, in the order of `Layout`.
        rank: place of every source by influence, the strongest first; of equal ones by number.
        cumulative: sum of the influences down to every source's rank.
        total: sum of all influences.
        node_max: up to this node threshold, everything that `prune` keeps is included.
    """

    included: Bool[np.ndarray, "n_nodes"]
    rank: Int[np.ndarray, "n_cols"]
    cumulative: Float[np.ndarray, "n_cols"]
    total: float
    node_max: float


def cover(
    layout: Layout, adjacency: sp.csr_array, influence: Float[np.ndarray, "n_cols"], budget: Budget, edge_bytes: float
) -> Coverage:
    """Choose as many of the most influential nodes as the budget allows; tokens and targets are always included.

    Args:
        layout, adjacency: of the graph.
        influence: of every source on the unpruned graph.
        budget: the limits. The strongest node is included even if the limits do not allow it.
        edge_bytes: size of one edge as text.
    """
    order = np.argsort(-influence, kind="stable")
    rank = np.empty(layout.n_cols, dtype=np.int64)
    rank[order] = np.arange(layout.n_cols)
    running = np.cumsum(influence[order])
    n_kept = _largest(layout, adjacency, influence[order], rank, budget, edge_bytes)
    included = np.ones(layout.n_nodes, dtype=bool)
    included[: layout.n_cols] = rank < n_kept
    included[layout.token_nodes] = True
    cumulative = np.empty_like(running)
    cumulative[order] = running
    total = float(influence.sum())
    return Coverage(included, rank, cumulative, total, _reach(influence[order], running, total, n_kept))


def _largest(
    layout: Layout,
    adjacency: sp.csr_array,
    ordered: Float[np.ndarray, "n_cols"],
    rank: Int[np.ndarray, "n_cols"],
    budget: Budget,
    edge_bytes: float,
) -> int:
    """How many of the strongest sources fit; equal ones go together, and those without influence are left out."""
    sources = rank.copy()
    sources[layout.token_nodes] = -1  # there in any case, as the targets are
    rows = np.concatenate([rank[: layout.n_features], np.full(layout.n_targets, -1)])
    n_in_row = np.diff(adjacency.indptr)
    # An edge is there as soon as both of its ends are.
    needed = np.maximum(np.repeat(rows, n_in_row), sources[adjacency.indices]) + 1
    n_edges = np.cumsum(np.bincount(needed, minlength=layout.n_cols + 1))
    counted = np.ones(layout.n_cols, dtype=np.int64)
    counted[rank[layout.token_nodes]] = 0
    n_nodes = layout.n_tokens + layout.n_targets + np.concatenate([[0], np.cumsum(counted)])
    size = n_nodes * NODE_BYTES + n_edges * edge_bytes
    fits = (n_nodes <= budget.max_nodes) & (size <= budget.max_bytes)
    n_influential = int((ordered >= SMALLEST).sum())
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) + 1  # where a run of equal ones ends
    ends = np.minimum(ends[ends <= n_influential], n_influential)
    possible = ends[fits[ends]]
    return int(possible[-1]) if len(possible) else int(ends[0]) if len(ends) else 0


def _reach(
    ordered: Float[np.ndarray, "n_cols"], running: Float[np.ndarray, "n_cols"], total: float, n_kept: int
) -> float:
    """The largest node threshold that keeps none but the first `n_kept` sources."""
    if n_kept >= int((ordered >= SMALLEST).sum()):
        return 1.0
    reach = min(float(running[n_kept - 1]) / total, float(np.nextafter(1.0, 0.0)))
    while reach * total > running[n_kept - 1]:
        reach = float(np.nextafter(reach, 0.0))
    return reach
