"""How much of what a graph explains flows through each edge of a circuit."""

import numpy as np
import scipy.sparse as sp

from circuits.influence import MIN_ROW_SUM
from circuits.pruning import Circuit

__all__ = ["edge_influence"]


def edge_influence(circuit: Circuit) -> sp.csr_array:
    """Influence through every kept edge in the unpruned graph: (influence + weight)[target] * its share of the target.

    Returns:
        Same shape and order of entries as `circuit.edges`.
    """
    graph = circuit.graph
    flow = np.concatenate([circuit.node_influence[graph.layout.feature_nodes], graph.target_weights])
    sums = np.maximum(np.asarray(abs(graph.adjacency).sum(axis=1), dtype=np.float64).ravel(), MIN_ROW_SUM)
    edges = circuit.edges
    per_edge = np.repeat(flow / sums, np.diff(edges.indptr))
    return sp.csr_array((np.abs(edges.data) * per_edge, edges.indices, edges.indptr), shape=edges.shape)
