"""Numbers that say how a graph is built, and nothing about which features or answers are in it.

The graph's first target is the model's answer, whatever it is, with weight 1: neither its probability nor the number of
its rivals is in these numbers. Names end in what they are of: a layer, or where in the prompt (`ROLES`).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from circuits.graph import Graph
from circuits.influence import node_influence
from circuits.paths import strongest_paths
from circuits.pruning import prune
from circuits.studies.hallucination.entity_table import ROLES

__all__ = ["structure"]

TINY = 1e-12


def structure(graph: Graph, roles: Sequence[str]) -> dict[str, float]:
    """Structure of how the graph's first target comes about.

    Args:
        graph: its first target is the model's answer.
        roles: of each position.
    """
    alone = only_first_target(graph)
    influence = node_influence(alone.adjacency, np.ones(1))
    return (
        _scores(alone)
        | _errors(alone, influence, roles)
        | _features(alone, influence, roles)
        | _signs(alone)
        | _entity(alone, influence, roles)
    )


def only_first_target(graph: Graph) -> Graph:
    """The graph of its first target alone, with weight 1."""
    n_rows = graph.layout.n_features + 1
    books = replace(
        graph.books,
        **{name: getattr(graph.books, name)[:n_rows] for name in ("pre_act", "constant", "omitted", "rounding")},
    )
    target = replace(graph.targets[0], weight=1.0)
    return replace(graph, targets=(target,), adjacency=graph.adjacency[:n_rows], books=books)


def _scores(graph: Graph) -> dict[str, float]:
    circuit = prune(graph)
    kept = circuit.node_mask
    paths = strongest_paths(circuit, count=3)
    return {
        "replacement score": circuit.replacement_score,
        "completeness score": circuit.completeness_score,
        "replacement score, kept": circuit.circuit_replacement_score,
        "completeness score, kept": circuit.circuit_completeness_score,
        "kept features": float(np.log1p(kept[graph.layout.feature_nodes].sum())),
        "kept errors": float(np.log1p(kept[graph.layout.error_nodes].sum())),
        "kept edges": float(np.log1p(circuit.edges.nnz)),
        "strongest path": paths[0].share if paths else 0.0,
    }


def _errors(graph: Graph, influence: Float[np.ndarray, "n_cols"], roles: Sequence[str]) -> dict[str, float]:
    layout = graph.layout
    errors = influence[layout.error_nodes].reshape(layout.n_layers, layout.n_pos)
    found = {f"error influence, layer {layer}": float(row.sum()) for layer, row in enumerate(errors)}
    found |= {f"unexplained variance, layer {layer}": _finite(value) for layer, value in enumerate(graph.fvu)}
    return found | {f"error influence, {role}": float(errors[:, _at(roles, role)].sum()) for role in ROLES}


def _features(graph: Graph, influence: Float[np.ndarray, "n_cols"], roles: Sequence[str]) -> dict[str, float]:
    layers, positions = graph.features[:, 0], graph.features[:, 1]
    own = influence[graph.layout.feature_nodes]
    role_of = np.array(roles)[positions]
    found = {f"features, layer {layer}": float((layers == layer).sum()) for layer in range(graph.n_layers)}
    found |= {f"feature influence, layer {layer}": float(own[layers == layer].sum()) for layer in range(graph.n_layers)}
    for role in ("entity", "entity end", "last"):
        found[f"features, {role}"] = float((role_of == role).sum())
        found[f"feature influence, {role}"] = float(own[role_of == role].sum())
    ordered = np.sort(own)[::-1] / max(float(own.sum()), TINY)
    found["entropy of influence"] = float(-(ordered * np.log(np.maximum(ordered, TINY))).sum())
    found["influence of the first feature"] = float(ordered[:1].sum())
    found["influence of the first five"] = float(ordered[:5].sum())
    return found


def _signs(graph: Graph) -> dict[str, float]:
    """How much of the answer's input speaks against it, and how much is constant."""
    row = graph.adjacency[[graph.layout.n_features]].toarray()[0].astype(np.float64)
    constant = abs(float(graph.books.constant[-1]))
    total = max(float(np.abs(row).sum()) + constant, TINY)
    features = row[graph.layout.feature_nodes]
    return {
        "negative share": float(-row[row < 0].sum()) / total,
        "constant share": constant / total,
        "direct feature share": float(np.abs(features).sum()) / total,
        "largest direct edge": float(np.abs(row).max(initial=0.0)) / total,
    }


def _entity(graph: Graph, influence: Float[np.ndarray, "n_cols"], roles: Sequence[str]) -> dict[str, float]:
    """How much of the answer goes back to the entity's tokens, and the strongest path from each."""
    tokens = influence[graph.layout.token_nodes]
    circuit = prune(graph, node_threshold=1.0, edge_threshold=1.0)
    found = {}
    for role in ("entity", "entity end"):
        places = _at(roles, role)
        found[f"token influence, {role}"] = float(tokens[places].sum())
        ways = [strongest_paths(circuit, source=graph.layout.token_node(int(pos)), count=1) for pos in places]
        found[f"strongest path, {role}"] = max((way[0].share for way in ways if way), default=0.0)
    return found


def _at(roles: Sequence[str], role: str) -> np.ndarray:
    return np.flatnonzero(np.array(roles) == role)


def _finite(value: float) -> float:
    return float(value) if np.isfinite(value) else 0.0
