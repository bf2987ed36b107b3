"""What must hold for the arrays of a graph, checked when one comes from a file.

The loops of `circuits.kernels` do not check their indices, so nothing may reach them that was not checked here or built
by `attribute`. Each function raises ValueError and says what was expected.
"""

from collections.abc import Mapping

import numpy as np

from circuits.graph import Graph, Target
from circuits.layout import Layout
from circuits.pruning import Circuit

__all__ = ["check_arrays", "check_circuit", "check_graph"]

FLOATS, OFFSETS = ("float32", "float64"), ("int32", "int64")
TARGET_KINDS = ("logit", "difference", "direction", "feature")
BOOKS = ("books.pre_act", "books.constant", "books.omitted", "books.rounding")
MAY_BE_NAN = ("fvu",)
MAY_BE_UNKNOWN = ("feature_acts", *BOOKS)  # NaN in a graph that was read from another program's file


def check_arrays(arrays: Mapping[str, np.ndarray], layout: Layout, kind: str) -> None:
    """Exactly the arrays of a graph or circuit of this layout: types, shapes, no NaN or infinity, indices in range."""
    expected = _graph_arrays(layout) | (_circuit_arrays(layout) if kind == "circuit" else {})
    missing, unknown = sorted(set(expected) - set(arrays)), sorted(set(arrays) - set(expected))
    if missing or unknown:
        raise ValueError(f"arrays missing: {missing}, unknown: {unknown}")
    for name, (dtypes, shape) in expected.items():
        array = arrays[name]
        if array.dtype.name not in dtypes:
            raise ValueError(f"expected {name} as {' or '.join(dtypes)}, got {array.dtype.name}")
        if array.ndim != len(shape) or any(n not in (None, m) for n, m in zip(shape, array.shape, strict=True)):
            raise ValueError(f"expected {name} of shape {shape}, got {array.shape}")
        if array.dtype.kind == "f" and name not in MAY_BE_NAN and not np.isfinite(array).all():
            if name in MAY_BE_UNKNOWN and not np.isinf(array).any() and _is_without_books(arrays):
                continue
            raise ValueError(f"{name} holds NaN or infinite values")
    _check_csr(arrays, "adjacency", layout.n_cols)
    if kind == "circuit":
        _check_csr(arrays, "circuit.edges", layout.n_cols)


def _is_without_books(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether no book is known: a file that was read from graph JSON, not one that is damaged."""
    return all(np.isnan(arrays[name]).all() for name in BOOKS)


def check_graph(graph: Graph) -> None:
    """Nodes in the order of `Layout`, and edges only from lower layers to higher ones."""
    if not graph.tokens or not graph.targets or not 0 <= graph.n_ignored_pos <= len(graph.tokens):
        raise ValueError("expected at least one token and one target, and no more ignored positions than tokens")
    for target in graph.targets:
        _check_target(target, graph)
    _check_features(graph)
    _check_order(graph)


def check_circuit(circuit: Circuit) -> None:
    """Edges between kept nodes only."""
    targets = circuit.graph.layout.row_nodes()[np.diff(circuit.edges.indptr) > 0]
    if not (circuit.node_mask[circuit.edges.indices].all() and circuit.node_mask[targets].all()):
        raise ValueError("expected circuit.edges between kept nodes only")


Expected = dict[str, tuple[tuple[str, ...], tuple[int | None, ...]]]


def _graph_arrays(layout: Layout) -> Expected:
    return {
        "token_ids": (("int64",), (layout.n_pos,)),
        "features": (("int32",), (layout.n_features, 3)),
        "feature_acts": (FLOATS, (layout.n_features,)),
        "label_index": (("int32",), (layout.n_features,)),
        "fvu": (("float64",), (layout.n_layers,)),
        **dict.fromkeys(BOOKS, (("float64",), (layout.n_rows,))),
        **_csr_arrays("adjacency", layout.n_rows),
    }


def _circuit_arrays(layout: Layout) -> Expected:
    return {
        "circuit.node_mask": (("bool",), (layout.n_nodes,)),
        "circuit.node_influence": (("float64",), (layout.n_nodes,)),
        "circuit.cumulative_influence": (("float64",), (layout.n_nodes,)),
        **_csr_arrays("circuit.edges", layout.n_rows),
    }


def _csr_arrays(name: str, n_rows: int) -> Expected:
    return {
        f"{name}.data": (FLOATS, (None,)),
        f"{name}.indices": (("int32",), (None,)),
        f"{name}.indptr": (OFFSETS, (n_rows + 1,)),
    }


def _check_csr(arrays: Mapping[str, np.ndarray], name: str, n_cols: int) -> None:
    data, indices, indptr = (arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr"))
    if indptr[0] != 0 or (np.diff(indptr) < 0).any() or not indptr[-1] == len(indices) == len(data):
        raise ValueError(f"expected {name}.indptr to rise from 0 to the number of edges")
    if len(indices) == 0:
        return
    if indices.min() < 0 or indices.max() >= n_cols:
        raise ValueError(f"expected {name}.indices from 0 to {n_cols - 1}")
    rising = np.diff(indices) > 0
    starts = indptr[(indptr > 0) & (indptr < len(indices))]
    rising[starts - 1] = True
    if not rising.all():
        raise ValueError(f"expected sorted {name}.indices in each row, each once")


def _check_target(target: Target, graph: Graph) -> None:
    if target.kind not in TARGET_KINDS:
        raise ValueError(f"expected a target of kind {', '.join(TARGET_KINDS)}, got {target.kind!r}")
    if not (0 <= target.pos < len(graph.tokens) and 0 <= target.layer <= graph.n_layers):
        raise ValueError(f"expected target {target.label!r} within the graph's layers and positions")
    if not np.isfinite(target.weight):
        raise ValueError(f"expected a finite weight of target {target.label!r}, got {target.weight}")


def _check_features(graph: Graph) -> None:
    layer, pos, feature_idx = graph.features.T.astype(np.int64)
    if any(((values < 0) | (values >= n)).any() for values, n in ((layer, graph.n_layers), (pos, len(graph.tokens)))):
        raise ValueError("expected features within the graph's layers and positions")
    place = np.diff(layer * len(graph.tokens) + pos)
    if (feature_idx < 0).any() or not ((place > 0) | ((place == 0) & (np.diff(feature_idx) > 0))).all():
        raise ValueError("expected features sorted by (layer, pos, feature_idx), each once")


def _check_order(graph: Graph) -> None:
    layout, indptr = graph.layout, graph.adjacency.indptr
    feature_layers = graph.features[:, 0].astype(np.int16)
    error_layers = np.repeat(np.arange(layout.n_layers, dtype=np.int16), layout.n_pos)
    source_layers = np.concatenate([feature_layers, error_layers, np.full(layout.n_tokens, -1, dtype=np.int16)])
    sources = source_layers[graph.adjacency.indices[: indptr[layout.n_features]]]
    if (sources >= np.repeat(feature_layers, np.diff(indptr)[: layout.n_features])).any():
        raise ValueError("expected edges from lower layers to higher ones only")
