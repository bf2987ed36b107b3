"""What to read first in a circuit: its strongest features, and the strongest paths through it.

A path's share is the product, over its edges, of abs(weight) / sum of abs(weights into the edge's target). The sums are
those of the unpruned graph: a share is the part of the target's whole input that flows along this one path, whatever
was pruned. The shares of all paths from tokens and errors to a target add up to 1, where every feature has an input.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from circuits.kernels import MIN_ROW_SUM
from circuits.pruning import Circuit
from replacement_model.errors import InputError

__all__ = ["Path", "RankedFeature", "strongest_features", "strongest_paths"]


@dataclass(frozen=True, slots=True)
class Path:
    """A way through a circuit.

    Attributes:
        nodes: from the source to the target, in the numbering of `Layout`.
        share: part of the target's input that flows along it, 0 to 1.
        sign: +1 if raising the source raises the target along this path, else -1.
    """

    nodes: tuple[int, ...]
    share: float
    sign: int


@dataclass(frozen=True, slots=True)
class RankedFeature:
    """A kept feature and its influence on the targets, as a share of the targets' summed weight."""

    node: int
    layer: int
    pos: int
    feature_idx: int
    influence: float


def strongest_features(circuit: Circuit, count: int = 10, *, pos: int | None = None) -> tuple[RankedFeature, ...]:
    """The kept features with the largest influence in the unpruned graph, largest first; ties by node.

    Args:
        circuit: what `prune` returned.
        count: how many at most.
        pos: only those at this position.
    """
    graph = circuit.graph
    kept = circuit.node_mask[graph.layout.feature_nodes]
    if pos is not None:
        kept = kept & (graph.features[:, 1] == pos)
    influence = circuit.node_influence[graph.layout.feature_nodes]
    nodes = np.flatnonzero(kept)
    nodes = nodes[np.argsort(-influence[nodes], kind="stable")[:count]]
    total = float(graph.target_weights.sum())
    rows = zip(nodes.tolist(), graph.features[nodes].tolist(), influence[nodes].tolist(), strict=True)
    return tuple(RankedFeature(node, layer, at, idx, value / total) for node, (layer, at, idx), value in rows)


def strongest_paths(
    circuit: Circuit, *, source: int | None = None, target: int | None = None, count: int = 5
) -> tuple[Path, ...]:
    """The paths with the largest shares from a source to a target, largest first.

    Exact: every node keeps its `count` best ways to the target, and the layers are visited from the last to the first.

    Args:
        circuit: what `prune` returned; only kept edges are used.
        source: node to start from, in the numbering of `Layout`; by default any token.
        target: node to reach, a target or a kept feature; by default the target with the largest weight.
        count: how many at most.

    Raises:
        InputError: no such node, or `count` below 1.

    Example:
        for path in strongest_paths(circuit, count=3):
            print(f"{path.share:.1%}", [circuit.graph.node_attributes(node)["label"] for node in path.nodes])
    """
    layout = circuit.graph.layout
    if target is None:
        target = layout.target_nodes.start + int(np.argmax(circuit.graph.target_weights))
    is_row = 0 <= target < layout.n_features or layout.n_cols <= target < layout.n_nodes
    if not is_row:
        raise InputError(f"expected a feature or target node to end at, got {target}; see Graph.layout")
    if source is not None and not 0 <= source < layout.n_cols:
        raise InputError(f"expected a source node from 0 to {layout.n_cols - 1}, got {source}; see Graph.layout")
    if count < 1:
        raise InputError(f"expected a count of paths of at least 1, got {count}")
    best = _best_ways(circuit, target, count)
    starts = np.arange(*layout.token_nodes.indices(layout.n_cols)[:2]) if source is None else np.array([source])
    order = np.argsort(-best.share[starts], axis=None, kind="stable")[:count]
    chosen = [(int(starts[k // count]), int(k % count)) for k in order.tolist()]
    return tuple(best.path(node, rank, target) for node, rank in chosen if best.share[node, rank] > 0)


@dataclass(frozen=True, slots=True)
class _Ways:
    """The best ways from every column to one target: shares (largest first), and the next node with its own rank."""

    share: Float[np.ndarray, "n_cols count"]
    positive: Bool[np.ndarray, "n_cols count"]
    next_node: Int[np.ndarray, "n_cols count"]
    next_rank: Int[np.ndarray, "n_cols count"]

    def path(self, node: int, rank: int, target: int) -> Path:
        share, sign = float(self.share[node, rank]), 1 if self.positive[node, rank] else -1
        nodes = [node]
        while node != target:
            node, rank = int(self.next_node[node, rank]), int(self.next_rank[node, rank])
            nodes.append(node)
        return Path(tuple(nodes), share, sign)


def _best_ways(circuit: Circuit, target: int, count: int) -> _Ways:
    layout = circuit.graph.layout
    shape = (layout.n_cols, count)
    best = _Ways(np.zeros(shape), np.ones(shape, dtype=bool), np.full(shape, -1), np.zeros(shape, dtype=np.int64))
    start_row = target if target < layout.n_features else layout.target_rows.start + layout.target_index(target)
    _offer(circuit, start_row, target, np.ones(1), np.ones(1, dtype=bool), best)
    for row in range(min(start_row, layout.n_features) - 1, -1, -1):
        if best.share[row, 0] > 0:
            _offer(circuit, row, row, best.share[row].copy(), best.positive[row].copy(), best)
    return best


def _offer(
    circuit: Circuit,
    row: int,
    node: int,
    share: Float[np.ndarray, "n_ways"],
    positive: Bool[np.ndarray, "n_ways"],
    best: _Ways,
) -> None:
    """Offer the ways of a node to all its sources, which keep the best they know."""
    edges, whole = circuit.edges, circuit.graph.adjacency
    entries = slice(edges.indptr[row], edges.indptr[row + 1])
    sources, weights = edges.indices[entries], edges.data[entries].astype(np.float64)
    total = np.abs(whole.data[whole.indptr[row] : whole.indptr[row + 1]], dtype=np.float64).sum()
    n_sources, n_ways = len(sources), len(share)
    offered = np.abs(weights)[:, None] / max(float(total), MIN_ROW_SUM) * share  # [n_sources, n_ways]
    all_shares = np.concatenate([best.share[sources], offered], axis=1)
    order = np.argsort(-all_shares, axis=1, kind="stable")[:, : best.share.shape[1]]
    signs = (weights >= 0)[:, None] == positive
    ranks = np.broadcast_to(np.arange(n_ways), (n_sources, n_ways))
    nodes = np.full((n_sources, n_ways), node)
    pairs = ((best.positive, signs), (best.next_node, nodes), (best.next_rank, ranks))
    best.share[sources] = np.take_along_axis(all_shares, order, axis=1)
    for known, new in pairs:
        known[sources] = np.take_along_axis(np.concatenate([known[sources], new], axis=1), order, axis=1)
