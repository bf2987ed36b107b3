"""Circuits for other programs: GraphML for graph tools, CSV for tables."""

import csv
import io
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

from circuits.edge_influence import edge_influence
from circuits.graph import Graph
from circuits.node_names import node_names
from circuits.pruning import Circuit
from circuits.supernodes.grouped import GroupedCircuit
from circuits.supernodes.grouping import Grouping
from viz.files import write_files
from viz.group_tables import BLOCK_COLUMNS, BLOCK_EDGE_COLUMNS, block_edges, block_rows
from viz.kept import as_circuit, grouping_of
from viz.text import visible

__all__ = ["graphml", "tables"]

NODE_COLUMNS = (
    "node_id", "kind", "layer", "pos", "token", "feature_idx", "label", "activation", "f1", "weight",
    "influence", "cumulative_influence",
)  # fmt: skip
EDGE_COLUMNS = ("source", "target", "weight", "influence", "source_label", "target_label")


def graphml(graph: Graph | Circuit | GroupedCircuit, path: str | Path) -> Path:
    r"""Write a circuit as GraphML, which Gephi, Cytoscape, yEd and networkx read.

    Control characters in tokens and labels, which XML cannot hold, are written out (`\x00`).

    Args:
        graph: a circuit; of a graph, everything that has an influence.
        path: the file to write.

    Raises:
        InputError: the file cannot be written.
    """
    circuit = as_circuit(graph)
    network: nx.DiGraph = nx.DiGraph(
        prompt=visible(circuit.graph.metadata.prompt),
        model=visible(circuit.graph.metadata.model_name),
        transcoder=visible(circuit.graph.metadata.transcoder_name),
        node_threshold=float(circuit.node_threshold),
        edge_threshold=float(circuit.edge_threshold),
        books_residual=float(circuit.graph.books.residual),
    )
    for row in _nodes(circuit, grouping_of(graph)):
        values = {
            key: visible(value) if isinstance(value, str) else value for key, value in row.items() if value is not None
        }
        network.add_node(values.pop("node_id"), **values)
    for row in _edges(circuit):
        network.add_edge(row["source"], row["target"], weight=row["weight"], influence=row["influence"])
    buffer = io.BytesIO()
    # Not write_graphml: it takes another writer, with other bytes, where lxml is installed.
    nx.write_graphml_xml(network, buffer, prettyprint=True)
    write_files({Path(path): buffer.getvalue()})
    return Path(path)


def tables(graph: Graph | Circuit | GroupedCircuit, path: str | Path) -> tuple[Path, ...]:
    """Write a circuit as two CSV files, `<path>.nodes.csv` and `<path>.edges.csv`; with supernodes as four.

    The columns are NODE_COLUMNS and EDGE_COLUMNS; an empty field means that a node has no such value. Influence is
    measured in the targets' weights; an edge runs from `source` to `target`, which are node ids of the first file.
    Of a grouped circuit, nodes also have their `supernode`, and `<path>.supernodes.csv` and
    `<path>.supernode-edges.csv` hold the merged graph (columns BLOCK_COLUMNS and BLOCK_EDGE_COLUMNS).

    Args:
        graph: a circuit; of a graph, everything that has an influence.
        path: beginning of the two names; an ending `.csv` is taken off.

    Raises:
        InputError: a file cannot be written.
    """
    circuit = as_circuit(graph)
    stem = str(path).removesuffix(".csv")
    nodes, edges = Path(f"{stem}.nodes.csv"), Path(f"{stem}.edges.csv")
    grouping = grouping_of(graph)
    columns = (*NODE_COLUMNS, "supernode") if isinstance(graph, GroupedCircuit) else NODE_COLUMNS
    files = {nodes: _csv(columns, _nodes(circuit, grouping)), edges: _csv(EDGE_COLUMNS, _edges(circuit))}
    if isinstance(graph, GroupedCircuit):
        blocks = block_rows(graph, node_names(circuit.graph))
        files[Path(f"{stem}.supernodes.csv")] = _csv(BLOCK_COLUMNS, blocks)
        files[Path(f"{stem}.supernode-edges.csv")] = _csv(BLOCK_EDGE_COLUMNS, block_edges(graph))
    write_files(files)
    return tuple(files)


def _nodes(circuit: Circuit, grouping: Grouping) -> list[dict[str, Any]]:
    graph, names = circuit.graph, node_names(circuit.graph)
    supernode = {node: group.label for group in grouping for node in group.nodes}
    rows = []
    for node in np.flatnonzero(circuit.node_mask).tolist():
        attributes = graph.node_attributes(node)
        is_target = attributes["kind"] == "target"
        label = graph.feature_labels[node] if attributes["kind"] == "feature" else None
        row = {
            "node_id": names[node],
            **attributes,
            "token": graph.tokens[attributes["pos"]],
            "f1": None if label is None else label.f1,
            "influence": None if is_target else float(circuit.node_influence[node]),
            "cumulative_influence": None if is_target else float(circuit.cumulative_influence[node]),
        }
        within = {"supernode": supernode.get(node)} if len(grouping) else {}
        rows.append({key: row.get(key) for key in NODE_COLUMNS} | within)
    return rows


def _edges(circuit: Circuit) -> list[dict[str, Any]]:
    graph, names = circuit.graph, node_names(circuit.graph)
    edges, influence = circuit.edges.tocoo(), edge_influence(circuit)
    targets = graph.layout.row_nodes()[edges.row]
    labels: dict[int, str] = {}
    rows = []
    for values in zip(edges.col.tolist(), targets.tolist(), edges.data.tolist(), influence.data.tolist(), strict=True):
        source, target, weight, flow = values
        for node in (source, target):
            if node not in labels:
                labels[node] = graph.node_attributes(node)["label"]
        row = (names[source], names[target], weight, flow, labels[source], labels[target])
        rows.append(dict(zip(EDGE_COLUMNS, row, strict=True)))
    return rows


def _csv(columns: tuple[str, ...], rows: list[dict[str, Any]]) -> bytes:
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode(errors="backslashreplace")
