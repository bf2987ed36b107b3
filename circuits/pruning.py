"""Pruning: the part of an attribution graph that carries most of the influence, small enough to be read.

Semantics are those of circuit-tracer's `prune_graph`, without its dense matrices:

1. Influence on the whole graph. The nodes with the largest influence are kept until they hold `node_threshold` of the
   sum. Tokens and targets always stay.
2. Influence on what remains, with every row renormalised. The edges with the largest score are kept until they hold
   `edge_threshold` of the sum (see `circuits.edge_selection`).
3. Features without a way in or out, and errors without a way out, are dropped until nothing changes.

A threshold keeps ties, and what has no influence at all is never kept.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float

from circuits.edge_selection import SMALLEST, drop_edges, share_threshold, strongest_edges
from circuits.graph import Graph
from circuits.influence import csr_arrays, node_influence
from circuits.kernels import sweep_connected
from circuits.layout import Layout
from circuits.scores import completeness_score, replacement_score
from replacement_model.display import Displayed
from replacement_model.errors import InputError

__all__ = ["Circuit", "prune"]


@dataclass(frozen=True, slots=True)
class Circuit(Displayed):
    """A graph, and the part of it that was kept.

    Attributes:
        graph: the unpruned graph.
        node_threshold, edge_threshold: shares of the influence and of the edge scores that were asked for.
        node_mask: which nodes are kept, in the order of `Layout`.
        edges: the kept edges `[target, source]` with their original weights, the shape of `graph.adjacency`.
        node_influence: influence on the targets in the unpruned graph, 0 for the targets themselves.
        cumulative_influence: sum of the influences from the largest down to this node's, as a share of the total.
        replacement_score, completeness_score: of the unpruned graph (`circuits.scores`).
        circuit_replacement_score, circuit_completeness_score: of the kept edges alone.
    """

    graph: Graph
    node_threshold: float
    edge_threshold: float
    node_mask: Bool[np.ndarray, "n_nodes"]
    edges: sp.csr_array
    node_influence: Float[np.ndarray, "n_nodes"]
    cumulative_influence: Float[np.ndarray, "n_nodes"]
    replacement_score: float
    completeness_score: float
    circuit_replacement_score: float
    circuit_completeness_score: float


def prune(graph: Graph, node_threshold: float = 0.8, edge_threshold: float = 0.98) -> Circuit:
    """Keep the nodes and edges through which most of the influence on the targets flows.

    Args:
        graph: what `attribute` returned.
        node_threshold: share of the summed node influence to keep, 0 to 1.
        edge_threshold: share of the summed edge scores to keep, 0 to 1.

    Returns:
        A circuit; `graph` is unchanged.

    Raises:
        InputError: a threshold outside 0..1, target weights that are negative, NaN, or all zero, or edges that are not
            finite or not of the graph's shape.

    Example:
        circuit = prune(graph, node_threshold=0.8, edge_threshold=0.98)
        circuit.node_mask.sum(), circuit.edges.nnz

    See Ameisen et al. 2025, "Circuit Tracing", on graph pruning.
    """
    _check_share("node_threshold", node_threshold)
    _check_share("edge_threshold", edge_threshold)
    weights, layout = _checked_weights(graph), graph.layout
    influence = node_influence(graph.adjacency, weights)
    if not np.isfinite(influence.sum()):
        raise InputError("expected finite edge weights, got NaN or infinity; trace the prompt again")
    kept = influence >= _node_cut(influence, node_threshold)
    kept[layout.token_nodes] = True
    edges = strongest_edges(graph.adjacency, weights, kept, edge_threshold)
    connected = _connected(edges, layout)
    kept &= connected
    if not connected[edges.indices].all() or _has_edges(edges, ~connected[layout.feature_nodes]):
        targets = np.ones(layout.n_targets, dtype=bool)
        edges = drop_edges(edges, np.concatenate([connected[layout.feature_nodes], targets]), connected)
    circuit_influence = node_influence(edges, weights)
    all_nodes = np.concatenate([influence, np.zeros(layout.n_targets)])
    return Circuit(
        graph=graph,
        node_threshold=node_threshold,
        edge_threshold=edge_threshold,
        node_mask=np.concatenate([kept, np.ones(layout.n_targets, dtype=bool)]),
        edges=edges,
        node_influence=all_nodes,
        cumulative_influence=_cumulative(all_nodes),
        replacement_score=replacement_score(layout, influence),
        completeness_score=completeness_score(layout, influence, weights),
        circuit_replacement_score=replacement_score(layout, circuit_influence),
        circuit_completeness_score=completeness_score(layout, circuit_influence, weights),
    )


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise InputError(f"expected {name} between 0 and 1, got {value}; it is the share of the influence to keep")


def _checked_weights(graph: Graph) -> Float[np.ndarray, "n_targets"]:
    expected = (graph.layout.n_rows, graph.layout.n_cols)
    if graph.adjacency.shape != expected:
        advice = "build the graph as circuits.layout says"
        raise InputError(f"expected adjacency of shape {expected}, got {graph.adjacency.shape}; {advice}")
    weights = graph.target_weights
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
        advice = "give every target a weight of 0 or more, and at least one above 0"
        raise InputError(f"expected target weights that can share out influence, got {weights.tolist()}; {advice}")
    return weights


def _node_cut(influence: Float[np.ndarray, "n_cols"], share: float) -> float:
    return share_threshold(influence, share * float(influence.sum())) if share < 1 else SMALLEST


def _cumulative(influence: Float[np.ndarray, "n_nodes"]) -> Float[np.ndarray, "n_nodes"]:
    order = np.argsort(-influence, kind="stable")
    cumulative = np.empty_like(influence)
    cumulative[order] = np.cumsum(influence[order])
    return cumulative / max(float(influence.sum()), SMALLEST)


def _has_edges(edges: sp.csr_array, features: Bool[np.ndarray, "n_features"]) -> bool:
    return bool((np.diff(edges.indptr)[: len(features)][features] > 0).any())


def _connected(edges: sp.csr_array, layout: Layout) -> Bool[np.ndarray, "n_cols"]:
    """Which sources lie on a way from a token or an error to a target.

    Dropping dead ends one by one until nothing changes ends here too. A node without a way in takes only its outgoing
    edges with it, so it leaves others without a way in, never without a way out (and the reverse): one sweep up through
    the layers and one down find what a work queue would.
    """
    reached = np.zeros(layout.n_cols, dtype=bool)
    reached[layout.n_features :] = True
    used = np.zeros(layout.n_cols, dtype=bool)
    indptr, indices, _ = csr_arrays(edges)
    sweep_connected(indptr, indices, layout.n_features, reached, used)
    used[layout.token_nodes] = True
    return reached & used
