"""What a graph predicts of the ablation of a feature: along its edges alone, or along all paths.

Where features stay active, a feature's activation is its pre-activation, and the local replacement model is linear: if
feature t loses a share x of its activation, everything that it writes loses that share. So the effect along all paths
is a Neumann sum with signs, in place of the shares of absolute values of which influence is made.
"""

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from circuits.graph import Graph
from circuits.influence import node_influence

__all__ = ["direct_edges", "effects_of", "influence_on", "main_target", "total_effects_on"]


def main_target(graph: Graph) -> int:
    """Which target has the largest weight; the first of equals."""
    return int(np.argmax(graph.target_weights))


def influence_on(graph: Graph, target: int) -> Float[np.ndarray, "n_features"]:
    """Influence of every feature on one target, in the unpruned graph."""
    weights = np.zeros(len(graph.targets))
    weights[target] = 1.0
    return node_influence(graph.adjacency, weights)[graph.layout.feature_nodes]


def direct_edges(graph: Graph, target: int) -> Float[np.ndarray, "n_features"]:
    """Weight of the edge from every feature to one target, 0 where there is none."""
    row = graph.adjacency[[graph.layout.target_rows.start + target], :].toarray()[0]
    return row[graph.layout.feature_nodes].astype(np.float64)


def total_effects_on(graph: Graph, target: int) -> Float[np.ndarray, "n_features"]:
    """What every feature adds to one target along all paths, with signs; ablating it takes this away."""
    direct = direct_edges(graph, target)
    edges = _between_features(graph)
    total = direct.copy()
    for _ in range(graph.n_layers):  # a path has at most so many edges
        total = direct + edges.T @ total
    return total


def effects_of(graph: Graph, nodes: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n n_rows"]:
    """Change of every row when each of these features is ablated, along all paths."""
    n_features = graph.layout.n_features
    whole = graph.adjacency[:, :n_features].astype(np.float64)
    first = -whole[:, nodes].toarray()  # [n_rows, n]
    shares = 1.0 / _acts(graph)
    total = first.copy()
    for _ in range(graph.n_layers):
        total = first + whole @ (total[:n_features] * shares[:, None])
    return total.T


def _between_features(graph: Graph) -> sp.csr_array:
    """Edges between features, per share of the target's activation."""
    n_features = graph.layout.n_features
    square = graph.adjacency[:n_features, :n_features].astype(np.float64)
    return sp.csr_array(sp.diags_array(1.0 / _acts(graph)) @ square)


def _acts(graph: Graph) -> Float[np.ndarray, "n_features"]:
    return graph.feature_acts.astype(np.float64)
