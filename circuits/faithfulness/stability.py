"""How much of a circuit is its thresholds': which nodes and edges stay when a graph is pruned over a grid of them.

What only some cells of the grid keep should not carry a claim alone (CIRCUS, arXiv 2603.00523).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float

from circuits.graph import Graph
from circuits.pruning import Circuit, prune

__all__ = ["EDGE_THRESHOLDS", "NODE_THRESHOLDS", "Stability", "measure_stability"]

NODE_THRESHOLDS = (0.6, 0.7, 0.8, 0.9, 0.95)
EDGE_THRESHOLDS = (0.9, 0.95, 0.98, 0.99)


@dataclass(frozen=True, slots=True, eq=False)
class Stability:
    """Nodes are features and errors: tokens and targets are always kept.

    Attributes:
        node_thresholds, edge_thresholds: of the grid.
        n_nodes, n_edges: kept in each cell.
        node_shares: for every node of `Layout`, the share of cells that keep it; NaN for tokens and targets.
        edge_shares: the same for every edge that any cell keeps, the shape of the adjacency.
        node_jaccard, edge_jaccard: of neighbouring cells: what both keep over what either keeps; the mean.
        worst_node_jaccard, worst_edge_jaccard: the least of them.
        own_nodes, own_edges: how many the given circuit keeps.
        always_nodes, always_edges: of these, how many every cell keeps.
        mostly_nodes, mostly_edges: how many at least half of the cells keep.
    """

    node_thresholds: tuple[float, ...]
    edge_thresholds: tuple[float, ...]
    n_nodes: tuple[tuple[int, ...], ...]
    n_edges: tuple[tuple[int, ...], ...]
    node_shares: Float[np.ndarray, "n_nodes"]
    edge_shares: sp.csr_array
    node_jaccard: float
    edge_jaccard: float
    worst_node_jaccard: float
    worst_edge_jaccard: float
    own_nodes: int
    own_edges: int
    always_nodes: int
    always_edges: int
    mostly_nodes: int
    mostly_edges: int


def measure_stability(
    circuit: Circuit,
    node_thresholds: Sequence[float] = NODE_THRESHOLDS,
    edge_thresholds: Sequence[float] = EDGE_THRESHOLDS,
) -> Stability:
    """Prune the circuit's graph in every cell of a grid of thresholds."""
    graph = circuit.graph
    grid = [[_kept(prune(graph, node, edge)) for edge in edge_thresholds] for node in node_thresholds]
    cells = [cell for row in grid for cell in row]
    node_shares = np.mean([nodes for nodes, _ in cells], axis=0)
    edge_shares = sp.csr_array(sum((edges for _, edges in cells), start=_none(graph)) / len(cells))
    node_shares[graph.layout.token_nodes] = np.nan
    node_shares[graph.layout.target_nodes] = np.nan
    pairs = [pair for row in grid for pair in pairwise(row)]
    pairs += [pair for above, below in pairwise(grid) for pair in zip(above, below, strict=True)]
    of_nodes = [_jaccard(a[0] & b[0], a[0] | b[0]) for a, b in pairs] or [1.0]
    of_edges = [_jaccard(a[1].multiply(b[1]), a[1] + b[1]) for a, b in pairs] or [1.0]
    own_nodes, own_edges = _kept(circuit)
    of_own_nodes, of_own_edges = node_shares[own_nodes], _at(edge_shares, own_edges)
    return Stability(
        node_thresholds=tuple(node_thresholds),
        edge_thresholds=tuple(edge_thresholds),
        n_nodes=tuple(tuple(int(nodes.sum()) for nodes, _ in row) for row in grid),
        n_edges=tuple(tuple(int(edges.nnz) for _, edges in row) for row in grid),
        node_shares=node_shares,
        edge_shares=edge_shares,
        node_jaccard=float(np.mean(of_nodes)),
        edge_jaccard=float(np.mean(of_edges)),
        worst_node_jaccard=min(of_nodes),
        worst_edge_jaccard=min(of_edges),
        own_nodes=len(of_own_nodes),
        own_edges=len(of_own_edges),
        always_nodes=_at_least(of_own_nodes, 1.0),
        always_edges=_at_least(of_own_edges, 1.0),
        mostly_nodes=_at_least(of_own_nodes, 0.5),
        mostly_edges=_at_least(of_own_edges, 0.5),
    )


def _kept(circuit: Circuit) -> tuple[np.ndarray, sp.csr_array]:
    """Which features and errors are kept, and ones at the kept edges."""
    layout, nodes = circuit.graph.layout, circuit.node_mask.copy()
    nodes[layout.token_nodes] = False
    nodes[layout.target_nodes] = False
    edges = circuit.edges
    return nodes, sp.csr_array((np.ones(edges.nnz), edges.indices, edges.indptr), shape=edges.shape)


def _none(graph: Graph) -> sp.csr_array:
    return sp.csr_array(graph.adjacency.shape, dtype=np.float64)


def _jaccard(both: np.ndarray | sp.sparray, either: np.ndarray | sp.sparray) -> float:
    n_both, n_either = (
        int(np.count_nonzero(one) if isinstance(one, np.ndarray) else one.nnz) for one in (both, either)
    )
    return n_both / n_either if n_either else 1.0


def _at(shares: sp.csr_array, edges: sp.csr_array) -> Float[np.ndarray, "n_edges"]:
    rows, cols = edges.tocoo().coords
    return np.asarray(shares[rows, cols]).ravel() if edges.nnz else np.empty(0)


def _at_least(shares: Float[np.ndarray, "n"], share: float) -> int:
    return int((shares >= share - 1e-9).sum())
