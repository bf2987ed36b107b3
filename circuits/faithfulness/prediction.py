"""What a graph predicts of the ablation of a feature: along its edges alone, or along all paths.

Along all paths the local replacement model is taken as linear: features that are active stay so, and one that loses a
share of its activation writes as much less. It is influence with signs (see `circuits.studies.signed_effects`).
"""

import numpy as np
from jaxtyping import Float, Int

from circuits.graph import Graph
from circuits.influence import node_influence
from circuits.studies.signed_effects import signed_effects

__all__ = ["direct_edges", "effects_of", "influence_on", "main_target", "total_effects_on"]


def main_target(graph: Graph) -> int:
    """Which target has the largest weight; the first of equals."""
    return int(np.argmax(graph.target_weights))


def influence_on(graph: Graph, target: int) -> Float[np.ndarray, "n_features"]:
    """Influence of every feature on one target, in the unpruned graph."""
    return node_influence(graph.adjacency, _only(graph, target))[graph.layout.feature_nodes]


def direct_edges(graph: Graph, target: int) -> Float[np.ndarray, "n_features"]:
    """Weight of the edge from every feature to one target, 0 where there is none."""
    row = graph.adjacency[[graph.layout.target_rows.start + target], :].toarray()[0]
    return row[graph.layout.feature_nodes].astype(np.float64)


def total_effects_on(graph: Graph, target: int) -> Float[np.ndarray, "n_features"]:
    """What every feature adds to one target along all paths, with signs; ablating it takes this away."""
    return signed_effects(graph, _only(graph, target))[graph.layout.feature_nodes]


def effects_of(graph: Graph, nodes: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n n_rows"]:
    """Change of every row when each of these features is ablated, along all paths."""
    n_features = graph.layout.n_features
    whole = graph.adjacency[:, :n_features].astype(np.float64)
    first = -whole[:, nodes].toarray()  # [n_rows, n]
    acts = graph.feature_acts.astype(np.float64)
    total = first.copy()
    for _ in range(graph.n_layers):
        total = first + whole @ (total[:n_features] / acts[:, None])
    return total.T


def _only(graph: Graph, target: int) -> Float[np.ndarray, "n_targets"]:
    return np.eye(len(graph.targets))[target]
