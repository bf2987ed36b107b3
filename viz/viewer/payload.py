"""What the page knows of a graph, as one JSON object: nodes, the edges among them, scores, and where it comes from.

The page prunes by itself, at any node threshold up to `thresholds.node_max`, and keeps exactly what `circuits.prune`
keeps of the whole graph:

1. Nodes. In the order of `rank`, find the first whose `cumulative` is at least `node_threshold * influence_total`. Keep
   all nodes with at least its `influence` (and at least `smallest`), tokens and logits always. At a threshold of 1
   keep all with at least `smallest`.
2. Edges. Among kept nodes, from the last row to the first (logits, then features, each from the last to the first):
   `factor[row] = f / max(sum of abs(weight) in the row, min_row_sum)`, where `f` is a logit's entry in
   `target_weights`, else the feature's influence so far; an edge's score, abs(weight) * factor[row], is added to its
   source's influence. Sort the scores from the largest down and keep those with at least the score at which their
   running sum reaches `edge_threshold` of the sum of all (and at least `smallest`); at 1, all with at least `smallest`.
3. Dead ends. From the first row up: a feature is reached if one of its kept edges comes from a reached source; errors
   and tokens are. From the last row down: a source is used if it has a kept edge into a logit or a used feature. Keep
   reached and used features, used errors, all tokens and logits, and the edges among them.

Edges are arrays in base64, little-endian, with the types that `edges.dtype` names: `source` and `weight` of every edge,
sorted by target, and for every node `n_into`, how many edges run into it. Nodes are in the order of `circuits.layout`.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Shaped

from circuits.edge_selection import SMALLEST
from circuits.graph import Graph
from circuits.influence import MIN_ROW_SUM
from circuits.node_names import node_name
from circuits.pruning import Circuit
from circuits.supernodes.file import named_groups
from circuits.supernodes.grouped import GroupedCircuit
from replacement_model.labels import FeatureLabel
from viz.captions import maker
from viz.kept import as_circuit, grouping_of
from viz.unknown import known, origin_note
from viz.viewer.coverage import Budget, Coverage, cover

__all__ = ["SCHEMA_VERSION", "payload"]

SCHEMA_VERSION = 1
MAX_INDEX = 2**16


def payload(
    graph: Graph | Circuit | GroupedCircuit,
    *,
    slug: str = "graph",
    title: str | None = None,
    budget: Budget | None = None,
) -> dict[str, Any]:
    """A graph as the page wants it.

    Args:
        graph: a circuit's thresholds are those that the page starts with; a grouped circuit's supernodes are its
            annotations. The page has the unpruned graph in any case; of one that was read from graph JSON, which
            holds what was kept, it starts with all.
        slug: name of the graph in addresses.
        title: for people; the prompt when None.
        budget: limits; the default fits a file of 5 MB.

    Returns:
        Plain values for JSON; every number is exact.

    Example:
        json.dumps(payload(circuit, slug="dallas"))
    """
    circuit = as_circuit(graph)
    whole, layout = circuit.graph, circuit.graph.layout
    influence = circuit.node_influence[: layout.n_cols].copy()
    budget = budget or Budget()
    edge_bytes = (_index_type(budget.max_nodes).itemsize + whole.adjacency.dtype.itemsize) * 4 / 3
    coverage = cover(layout, whole.adjacency, influence, budget, edge_bytes)
    names = {int(node): node_name(whole, int(node)) for node in np.flatnonzero(coverage.included)}
    edges = _edges(whole, coverage.included)
    content = {
        "prompt": whole.metadata.prompt or "".join(whole.tokens),
        "tokens": list(whole.tokens),
        "n_layers": whole.n_layers,
        "nodes": [_node(whole, influence, coverage, node, name) for node, name in names.items()],
        "edges": edges,
        "target_weights": _target_weights(whole, coverage.included),
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "graph",
        "slug": slug,
        "title": title or content["prompt"],
        "hash": hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest(),
        **content,
        "influence_total": coverage.total,
        "smallest": SMALLEST,
        "min_row_sum": MIN_ROW_SUM,
        "thresholds": {
            "node": min(1.0 if whole.read_from else circuit.node_threshold, coverage.node_max),
            "edge": 1.0 if whole.read_from else circuit.edge_threshold,
            "node_max": coverage.node_max,
        },
        "left_out": _left_out(layout.n_cols, whole.adjacency, influence, coverage, edges["n"]),
        "scores": _scores(circuit),
        "books": _books(whole),
        "settings": _settings(whole),
        "features": {key: _label_facts(label) for key, label in _labels(whole, names).items()},
        "annotations": {
            "schema_version": SCHEMA_VERSION,
            "revision": 0,
            "supernodes": named_groups(grouping_of(graph), whole),
            "pinned": [],
            "positions": {},
            "labels": {},
            "node_threshold": None,
            "edge_threshold": None,
        },
    }


def _node(
    graph: Graph, influence: Float[np.ndarray, "n_cols"], coverage: Coverage, node: int, name: str
) -> dict[str, Any]:
    attributes = graph.node_attributes(node)
    is_target = attributes["kind"] == "target"
    target = graph.targets[graph.layout.target_index(node)] if is_target else None
    label = graph.feature_labels[node] if attributes["kind"] == "feature" else None
    return {
        "id": name,
        "kind": "logit" if is_target else attributes["kind"],
        "target_kind": None if target is None else target.kind,
        "layer": graph.n_layers if is_target else attributes["layer"],
        "pos": attributes["pos"],
        "feature_idx": attributes.get("feature_idx"),
        "activation": known(attributes["activation"]) if attributes["kind"] == "feature" else None,
        "probability": None if target is None else target.weight,
        "influence": None if is_target else float(influence[node]),
        "rank": None if is_target else int(coverage.rank[node]),
        "cumulative": None if is_target else float(coverage.cumulative[node]),
        "always_kept": attributes["kind"] in ("token", "target"),
        "label": None if label is None else label.text,
        "label_source": None if label is None else "graph",
        "label_score": None if label is None else label.f1,
        "token": attributes["label"] if attributes["kind"] in ("token", "target") else None,
    }


def _edges(graph: Graph, included: Bool[np.ndarray, "n_nodes"]) -> dict[str, Any]:
    """All edges among the included nodes, by the numbers that these have in the list of nodes."""
    layout, adjacency = graph.layout, graph.adjacency
    number = np.cumsum(included) - 1
    targets = np.repeat(layout.row_nodes(), np.diff(adjacency.indptr))
    both = included[targets] & included[adjacency.indices]
    n_nodes = int(included.sum())
    arrays = {
        "source": number[adjacency.indices[both]].astype(_index_type(n_nodes)),
        "n_into": np.bincount(number[targets[both]], minlength=n_nodes).astype(_index_type(n_nodes)),
        "weight": adjacency.data[both],
    }
    return {
        "n": int(both.sum()),
        "dtype": {name: array.dtype.name for name, array in arrays.items()},
        **{name: _packed(array) for name, array in arrays.items()},
    }


def _index_type(n_nodes: int) -> np.dtype:
    return np.dtype(np.uint16 if n_nodes < MAX_INDEX else np.uint32)


def _packed(array: Shaped[np.ndarray, "n"]) -> str:
    return base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode("ascii")


def _target_weights(graph: Graph, included: Bool[np.ndarray, "n_nodes"]) -> dict[str, float]:
    first = int(included.sum()) - graph.layout.n_targets
    return {str(first + k): float(weight) for k, weight in enumerate(graph.target_weights)}


def _left_out(
    n_cols: int, adjacency: sp.csr_array, influence: Float[np.ndarray, "n_cols"], coverage: Coverage, n_edges: int
) -> dict[str, Any]:
    missing = ~coverage.included[:n_cols] & (influence >= SMALLEST)
    share = float(influence[missing].sum()) / coverage.total if coverage.total > 0 else 0.0
    return {"nodes": int(missing.sum()), "edges": int(adjacency.nnz) - n_edges, "influence_share": share}


def _scores(circuit: Circuit) -> dict[str, float | None]:
    names = (
        "replacement_score",
        "completeness_score",
        "circuit_replacement_score",
        "circuit_completeness_score",
    )
    return {name: known(getattr(circuit, name)) for name in names}


def _books(graph: Graph) -> dict[str, Any]:
    residual, share = known(graph.books.residual), known(graph.rounding_share)
    return {"residual": residual, "rounding_share": share, "fvu": [known(value) for value in graph.fvu]}


def _settings(graph: Graph) -> dict[str, Any]:
    name, version = maker()
    facts = asdict(graph.metadata) | {"origin": origin_note(graph)}
    return {key: facts[key] for key in facts if key not in ("prompt", "schema_version")} | {
        "made_by": f"{name} {version}"
    }


def _labels(graph: Graph, names: Mapping[int, str]) -> dict[str, FeatureLabel]:
    found: dict[str, FeatureLabel] = {}
    for node in names:
        label = graph.feature_labels[node] if node < graph.layout.n_features else None
        if label is not None:
            layer, _, idx = graph.features[node].tolist()
            found[f"{layer}/{idx}"] = label
    return found


def _label_facts(label: FeatureLabel) -> dict[str, Any]:
    return {
        "label": label.text,
        "label_source": "graph",
        "label_score": label.f1,
        "top_logits": list(label.top_logits),
        "bottom_logits": list(label.bottom_logits),
    }
