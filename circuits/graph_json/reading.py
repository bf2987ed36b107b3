"""A graph file of any program as a circuit: all of it is kept, and what the file does not say stays unknown.

Such a file holds what its maker kept. So the circuit's graph has no other edges, and:

- `books` are NaN: neither pre-activations nor constants nor omitted edges are in the file (the residual is as stated).
- `feature_acts`, `fvu`, thresholds and the scores of the unpruned graph are NaN where the file does not state them;
  token ids -1.
- `cumulative_influence` is the file's own, which comes from the unpruned graph; 1 for what is not in the file. If a
  node has none, all are computed from the edges. `node_influence`, the scores of the circuit, and everything that
  `prune` gives are computed from the edges in the file.
- `metadata.settings["read_from"]` says all this (`Graph.read_from`).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from circuits.graph import Books, Graph
from circuits.graph_json.kinds import EMBEDDING, ERROR, FEATURE, LOGIT, is_text_list
from circuits.graph_json.links import FileLinks, read_links
from circuits.graph_json.nodes import MAX_PLACES, FileNode, layers_of, read_nodes, target_of
from circuits.graph_json.parsing import read_json_file
from circuits.graph_json.producer import find_producer, has_cantor_ids
from circuits.graph_json.provenance import UNKNOWN, fvu_of, info_of, metadata_of, number_of, read_from, share_of
from circuits.graph_validation import check_graph
from circuits.layout import Layout
from circuits.pruning import Circuit, prune
from replacement_model.errors import GraphFileError, InputError
from replacement_model.labels import FeatureLabel

__all__ = ["read_graph_json"]

TOP = {"metadata": dict, "nodes": list, "links": list}
Numbered = Sequence[FileNode]


def read_graph_json(path: str | Path) -> Circuit:
    """Read the graph JSON of this program, circuit-tracer, Neuronpedia or EleutherAI's attribute.

    Args:
        path: a file; untrusted, everything in it is checked before it is used.

    Returns:
        A circuit that keeps all that the file holds; prune its `graph` to keep less. See this module for what is
        unknown in it. The supernodes in `qParams` are read by `load_grouping(path, circuit.graph)`.

    Raises:
        InputError: there is no such file, or it is above 500 MB.
        GraphFileError: it is not JSON, or not a graph of which one can be made.

    Example:
        circuit = read_graph_json("gemma-fact-dallas-austin.json")
    """
    place = Path(path)
    value = read_json_file(place).value
    try:
        return _circuit(_parts(value))
    except (ValueError, InputError) as error:
        reason, advice = " ".join(str(error).split()), "`orrery validate` lists what is wrong"
        raise GraphFileError(f"{place} cannot be read as graph JSON: {reason}; {advice}") from error


def _parts(value: Any) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """Metadata, nodes and links, of the types that they must have."""
    if not isinstance(value, dict):
        raise ValueError(f"expected an object, got a {type(value).__name__}")
    for key, kind in TOP.items():
        if not isinstance(value.get(key), kind):
            raise ValueError(f"expected {key} as {kind.__name__}, got {type(value.get(key)).__name__}")
    for key in ("nodes", "links"):
        if not all(isinstance(one, dict) for one in value[key]):
            raise ValueError(f"expected only objects in {key}")
    if not is_text_list(value["metadata"].get("prompt_tokens")) or not value["metadata"]["prompt_tokens"]:
        raise ValueError("expected metadata.prompt_tokens, a list of texts")
    return value["metadata"], value["nodes"], value["links"]


def _circuit(parts: tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]) -> Circuit:
    metadata, rows, link_rows = parts
    tokens = metadata["prompt_tokens"]
    nodes = read_nodes(rows, len(tokens), has_cantor_ids(metadata, rows))
    links = read_links(link_rows, nodes)
    n_layers = layers_of(nodes, metadata.get("n_layers"))
    if n_layers * len(tokens) > MAX_PLACES:
        raise ValueError(f"expected at most {MAX_PLACES:,} layers times positions, got {n_layers * len(tokens):,}")
    order = _order(nodes)
    layout = Layout(len(order[FEATURE]), n_layers, len(tokens), len(order[LOGIT]))
    number = _numbers(layout, order)
    adjacency = _adjacency(layout, links, number)
    origin = read_from(metadata, find_producer(metadata, rows), nodes, links)
    graph = _graph(metadata, order, layout, adjacency, origin)
    check_graph(graph)
    return _kept(graph, metadata, nodes, number)


def _order(nodes: Numbered) -> dict[str, list[FileNode]]:
    """Nodes by kind: features sorted, the others as the file has them."""
    order = {kind: [node for node in nodes if node.kind == kind] for kind in (FEATURE, ERROR, EMBEDDING, LOGIT)}
    order[FEATURE].sort(key=lambda node: (node.layer, node.pos, node.feature_idx))
    for kind in (FEATURE, ERROR, EMBEDDING):
        places = Counter((node.layer, node.pos, node.feature_idx if kind == FEATURE else None) for node in order[kind])
        for (layer, pos, _), count in places.items():
            if count > 1:
                raise ValueError(f"expected each {kind} once, got {count} at layer {layer}, position {pos}")
    return order


def _numbers(layout: Layout, order: Mapping[str, Numbered]) -> dict[int, int]:
    """The number in `Layout` of every place in the file."""
    number = {node.place: k for k, node in enumerate(order[FEATURE])}
    number |= {node.place: layout.error_node(node.layer or 0, node.pos) for node in order[ERROR]}
    number |= {node.place: layout.token_node(node.pos) for node in order[EMBEDDING]}
    return number | {node.place: layout.n_cols + k for k, node in enumerate(order[LOGIT])}


def _adjacency(layout: Layout, links: FileLinks, number: Mapping[int, int]) -> sp.csr_array:
    """The links as `[target, source]`, in float32 where that holds them exactly."""
    rows = np.array([number[target] for target in links.targets], dtype=np.int64)
    rows = np.where(rows < layout.n_features, rows, rows - layout.n_cols + layout.n_features)
    cols = np.array([number[source] for source in links.sources], dtype=np.int64)
    weights = np.array(links.weights, dtype=np.float64)
    with np.errstate(over="ignore"):
        single = weights.astype(np.float32)
    matrix = sp.csr_array(
        (single if (single == weights).all() else weights, (rows, cols)), shape=(layout.n_rows, layout.n_cols)
    )
    matrix.sort_indices()
    return sp.csr_array((matrix.data, matrix.indices.astype(np.int32), matrix.indptr), shape=matrix.shape)


def _graph(
    metadata: Mapping[str, Any],
    order: Mapping[str, Numbered],
    layout: Layout,
    adjacency: sp.csr_array,
    origin: dict[str, Any],
) -> Graph:
    token_ids = np.full(layout.n_pos, -1, dtype=np.int64)
    for node in order[EMBEDDING]:
        token_ids[node.pos] = -1 if node.feature_idx is None else node.feature_idx
    features = [(node.layer, node.pos, node.feature_idx) for node in order[FEATURE]]
    acts = [UNKNOWN if node.activation is None else float(node.activation) for node in order[FEATURE]]
    pre_act, constant, omitted, rounding = np.full((4, layout.n_rows), UNKNOWN)
    return Graph(
        metadata=metadata_of(metadata, origin),
        tokens=tuple(metadata["prompt_tokens"]),
        token_ids=token_ids,
        n_layers=layout.n_layers,
        n_ignored_pos=0,
        features=np.array(features, dtype=np.int32).reshape(-1, 3),
        feature_acts=np.array(acts, dtype=np.float64),
        targets=tuple(target_of(node, layout.n_layers) for node in order[LOGIT]),
        adjacency=adjacency,
        books=Books(pre_act, constant, omitted, rounding, number_of(info_of(metadata).get("books_residual"))),
        fvu=fvu_of(info_of(metadata).get("fvu"), layout.n_layers),
        feature_labels=tuple(FeatureLabel(node.text) if node.text else None for node in order[FEATURE]),
    )


def _kept(graph: Graph, metadata: Mapping[str, Any], nodes: Numbered, number: Mapping[int, int]) -> Circuit:
    """The circuit that keeps what the file holds."""
    layout, info = graph.layout, info_of(metadata)
    whole = prune(graph, 1.0, 1.0)
    mask = np.zeros(layout.n_nodes, dtype=bool)
    mask[list(number.values())] = True
    cumulative = whole.cumulative_influence
    own = {number[node.place]: node.influence for node in nodes if node.kind != LOGIT}
    if all(value is not None for value in own.values()):
        cumulative = np.ones(layout.n_nodes)
        cumulative[list(own)] = list(own.values())
    pruning = metadata.get("pruning_settings")
    thresholds = pruning if isinstance(pruning, dict) else {}
    return Circuit(
        graph=graph,
        node_threshold=share_of(thresholds.get("node_threshold", metadata.get("node_threshold"))),
        edge_threshold=share_of(thresholds.get("edge_threshold")),
        node_mask=mask,
        edges=graph.adjacency,
        node_influence=whole.node_influence,
        cumulative_influence=cumulative,
        replacement_score=share_of(info.get("replacement_score")),
        completeness_score=share_of(info.get("completeness_score")),
        circuit_replacement_score=whole.replacement_score,
        circuit_completeness_score=whole.completeness_score,
    )
