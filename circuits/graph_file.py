"""Graphs and circuits on disk: one safetensors file each, with everything that is not an array as JSON in its header.

Graph JSON is read too, by the same functions: ours, circuit-tracer's, Neuronpedia's and attribute's (see
`circuits.graph_json.reading` for what such a file does not say).

The header has one metadata entry, `orrery`: with several, their order, and so the bytes, would differ from run to run.
A circuit's file holds its whole graph too, so `load_graph` reads both, and a circuit can be pruned again with other
thresholds. The kept edges are stored rather than recomputed: on another processor the last bit of a sum may differ, and
with it an edge at the threshold.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from circuits.graph import SCHEMA_VERSION, Books, Graph, GraphMetadata, Target
from circuits.graph_json.parsing import is_json
from circuits.graph_json.reading import read_graph_json
from circuits.graph_validation import check_arrays, check_circuit, check_graph
from circuits.layout import Layout
from circuits.pruning import Circuit
from replacement_model.errors import GraphFileError, InputError
from replacement_model.formats.files import atomic_path
from replacement_model.labels import FeatureLabel

__all__ = ["file_kind", "load_circuit", "load_graph", "load_metadata", "save_circuit", "save_graph"]

HEADER_KEY = "orrery"
BOOKS = ("pre_act", "constant", "omitted", "rounding")
CIRCUIT_NUMBERS = (
    "node_threshold",
    "edge_threshold",
    "replacement_score",
    "completeness_score",
    "circuit_replacement_score",
    "circuit_completeness_score",
)


def save_graph(graph: Graph, path: str | Path) -> None:
    """Write a graph as one safetensors file: all of it or nothing, and the same bytes for an equal graph.

    Args:
        graph: what `attribute` returned.
        path: usually ends in `.safetensors`; folders are made, an existing file is replaced.

    Raises:
        InputError: the place cannot be written, or the graph's settings hold what JSON cannot.

    Example:
        save_graph(graph, "dallas.safetensors")
    """
    _write(Path(path), {"kind": "graph", **_graph_header(graph)}, _graph_tensors(graph))


def load_graph(path: str | Path) -> Graph:
    """Read a graph, or the unpruned graph of a circuit; of graph JSON, what the file holds.

    Raises:
        InputError: there is no such file.
        GraphFileError: it is truncated, of another schema, or its parts do not fit together.
    """
    if is_json(Path(path)):
        return read_graph_json(path).graph
    header, tensors = _read(Path(path))
    return _graph(Path(path), header, tensors)


def save_circuit(circuit: Circuit, path: str | Path) -> None:
    """Write a circuit with its graph; otherwise like `save_graph`."""
    numbers = {name: _or_none(getattr(circuit, name)) for name in CIRCUIT_NUMBERS}
    header = {"kind": "circuit", "circuit": numbers, **_graph_header(circuit.graph)}
    arrays = {
        "circuit.node_mask": circuit.node_mask,
        "circuit.node_influence": circuit.node_influence,
        "circuit.cumulative_influence": circuit.cumulative_influence,
        **_csr_tensors("circuit.edges", circuit.edges),
    }
    _write(Path(path), header, _graph_tensors(circuit.graph) | arrays)


def load_circuit(path: str | Path) -> Circuit:
    """Read a circuit; graph JSON is one.

    Raises:
        InputError: there is no such file.
        GraphFileError: it holds a graph that was not pruned, is damaged, or is of another schema.
    """
    if is_json(Path(path)):
        return read_graph_json(path)
    header, tensors = _read(Path(path))
    if header["kind"] != "circuit":
        raise GraphFileError(f"{path}: expected a circuit, got a graph; load it with load_graph and prune it")
    graph = _graph(Path(path), header, tensors)
    try:
        circuit = Circuit(
            graph=graph,
            edges=_csr(tensors, "circuit.edges", graph.layout),
            node_mask=tensors["circuit.node_mask"],
            node_influence=tensors["circuit.node_influence"],
            cumulative_influence=tensors["circuit.cumulative_influence"],
            **{name: _or_nan(header["circuit"][name]) for name in CIRCUIT_NUMBERS},
        )
        check_circuit(circuit)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(Path(path), error) from error
    return circuit


def file_kind(path: str | Path) -> str:
    """`graph` or `circuit`, from the header alone; graph JSON is a circuit.

    Raises:
        InputError: there is no such file.
        GraphFileError: it is neither.
    """
    return "circuit" if is_json(Path(path)) else str(_open(Path(path))[0]["kind"])


def load_metadata(path: str | Path) -> GraphMetadata:
    """Where the graph in a file comes from, from the header alone; graph JSON is read as a whole.

    Raises:
        InputError: there is no such file.
        GraphFileError: it is neither a graph nor a circuit.
    """
    if is_json(Path(path)):
        return read_graph_json(path).graph.metadata
    header = _open(Path(path))[0]
    try:
        return GraphMetadata(**header["metadata"])
    except TypeError as error:
        raise _damaged(Path(path), error) from error


def _graph_header(graph: Graph) -> dict[str, Any]:
    return {
        "metadata": asdict(graph.metadata),
        "tokens": list(graph.tokens),
        "n_layers": graph.n_layers,
        "n_ignored_pos": graph.n_ignored_pos,
        "targets": [asdict(target) for target in graph.targets],
        "books_residual": _or_none(graph.books.residual),
        "labels": list(_distinct_labels(graph).values()),
    }


def _distinct_labels(graph: Graph) -> dict[str, dict[str, Any]]:
    """Each label once (a feature is often active at several positions), in the order of first use."""
    labels = (asdict(label) for label in graph.feature_labels if label is not None)
    return {_to_json(label): label for label in labels}


def _graph_tensors(graph: Graph) -> dict[str, np.ndarray]:
    number = {text: index for index, text in enumerate(_distinct_labels(graph))}
    label_index = [-1 if label is None else number[_to_json(asdict(label))] for label in graph.feature_labels]
    return {
        "token_ids": graph.token_ids.astype(np.int64),
        "features": graph.features.astype(np.int32),
        "feature_acts": graph.feature_acts,
        "label_index": np.array(label_index, dtype=np.int32),
        "fvu": np.array(graph.fvu, dtype=np.float64),
        **{f"books.{name}": getattr(graph.books, name).astype(np.float64) for name in BOOKS},
        **_csr_tensors("adjacency", graph.adjacency),
    }


def _csr_tensors(name: str, matrix: sp.csr_array) -> dict[str, np.ndarray]:
    if not matrix.has_canonical_format:
        matrix = matrix.copy()
        matrix.sum_duplicates()
    offset = np.int32 if matrix.nnz <= np.iinfo(np.int32).max else np.int64
    return {
        f"{name}.data": matrix.data,
        f"{name}.indices": matrix.indices.astype(np.int32, copy=False),
        f"{name}.indptr": matrix.indptr.astype(offset, copy=False),
    }


def _csr(tensors: Mapping[str, np.ndarray], name: str, layout: Layout) -> sp.csr_array:
    data, indices, indptr = (tensors[f"{name}.{part}"] for part in ("data", "indices", "indptr"))
    matrix = sp.csr_array((data, indices, indptr), shape=(layout.n_rows, layout.n_cols))
    matrix.has_canonical_format = True  # just checked
    return matrix


def _graph(path: Path, header: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Graph:
    try:
        tokens, n_layers = tuple(map(str, header["tokens"])), int(header["n_layers"])
        targets = tuple(Target(**row | {"token_ids": tuple(row["token_ids"])}) for row in header["targets"])
        layout = Layout(len(tensors["features"]), n_layers, len(tokens), len(targets))
        check_arrays(tensors, layout, header["kind"])
        pre_act, constant, omitted, rounding = (tensors[f"books.{name}"] for name in BOOKS)
        labels = [_label(row) for row in header["labels"]]
        graph = Graph(
            metadata=GraphMetadata(**header["metadata"]),
            tokens=tokens,
            token_ids=tensors["token_ids"],
            n_layers=n_layers,
            n_ignored_pos=int(header["n_ignored_pos"]),
            features=tensors["features"],
            feature_acts=tensors["feature_acts"],
            targets=targets,
            adjacency=_csr(tensors, "adjacency", layout),
            books=Books(pre_act, constant, omitted, rounding, _or_nan(header["books_residual"])),
            fvu=tuple(tensors["fvu"].tolist()),
            feature_labels=tuple(None if k < 0 else labels[k] for k in tensors["label_index"].tolist()),
        )
        check_graph(graph)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise _damaged(path, error) from error
    return graph


def _label(row: Mapping[str, Any]) -> FeatureLabel:
    known = {column.name for column in fields(FeatureLabel)}
    if not set(row) <= known:
        raise ValueError(f"expected labels with {sorted(known)}, got {sorted(row)}")
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    return FeatureLabel(**values)


def _or_none(value: float) -> float | None:
    """NaN, which stands for what another program's file did not say, as JSON's null."""
    return None if math.isnan(value) else value


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _write(path: Path, header: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    try:
        text = _to_json(header)
    except (TypeError, ValueError) as error:
        raise InputError(f"expected settings and versions that JSON can hold ({error}); use plain values") from error
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(arrays, temporary, metadata={HEADER_KEY: text})
        except SafetensorError as error:
            raise InputError(f"cannot write {path} ({error}); choose another output folder") from error


def _open(path: Path) -> tuple[dict[str, Any], Any]:
    if not path.is_file():
        raise InputError(f"expected a graph file at {path}, found none; check the path, or trace a prompt first")
    try:
        file = safe_open(path, framework="np")
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error
    text = (file.metadata() or {}).get(HEADER_KEY)
    if text is None:
        raise GraphFileError(f"{path} is a safetensors file but not a graph; expected one written by save_graph")
    try:
        header = json.loads(text)
        version = header["metadata"]["schema_version"]
        kind = header["kind"]
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error) from error
    if version != SCHEMA_VERSION:
        advice = "trace the prompt again, or use the release that wrote it"
        raise GraphFileError(f"{path} has graph schema {version}, expected {SCHEMA_VERSION}; {advice}")
    if kind not in ("graph", "circuit"):
        raise GraphFileError(f"{path} holds a {kind!r}, expected a graph or a circuit; trace the prompt again")
    return header, file


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    header, file = _open(path)
    try:
        return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, TypeError, KeyError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> GraphFileError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return GraphFileError(f"{path} cannot be read as a graph: {reason}; it is damaged, trace the prompt again")
