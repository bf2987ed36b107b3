import csv
import dataclasses

import networkx as nx
import numpy as np
import pytest

import viz
from circuits.edge_influence import edge_influence
from replacement_model.errors import InputError
from viz.tabular import EDGE_COLUMNS, NODE_COLUMNS


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_tables_hold_every_node_and_edge(texas, tmp_path):
    nodes, edges = viz.tables(texas, tmp_path / "dallas.csv")
    assert (nodes.name, edges.name) == ("dallas.nodes.csv", "dallas.edges.csv")
    node_rows, edge_rows = rows(nodes), rows(edges)
    assert tuple(node_rows[0]) == NODE_COLUMNS
    assert tuple(edge_rows[0]) == EDGE_COLUMNS
    assert len(node_rows) == texas.node_mask.sum()
    np.testing.assert_array_equal([float(row["weight"]) for row in edge_rows], texas.edges.data)
    np.testing.assert_array_equal([float(row["influence"]) for row in edge_rows], edge_influence(texas).data)
    names = {row["node_id"] for row in node_rows}
    assert {row[end] for row in edge_rows for end in ("source", "target")} <= names


def test_a_table_row(texas, tmp_path):
    nodes, edges = viz.tables(texas, tmp_path / "dallas")
    row = next(row for row in rows(nodes) if row["label"] == "city in Texas")
    assert row["kind"] == "feature"
    assert (row["layer"], row["pos"], row["token"], row["f1"], row["weight"]) == ("0", "8", "Dallas", "0.9", "")
    logit = next(row for row in rows(nodes) if row["kind"] == "target")
    assert (logit["label"], logit["weight"], logit["influence"]) == (" Austin", "0.93", "")
    assert any(row["source_label"] == "Dallas" and row["target_label"] == "city in Texas" for row in rows(edges))


def with_tokens(circuit, tokens):
    return dataclasses.replace(circuit, graph=dataclasses.replace(circuit.graph, tokens=tokens))


def test_tables_keep_any_text(texas, tmp_path):
    tokens = ('a,"b"', "line\nbreak", "\r\n", "=1+1", "日本", "\x00", "<b>", "", ";", " ")
    nodes, _ = viz.tables(with_tokens(texas, tokens), tmp_path / "t")
    assert tuple(row["label"] for row in rows(nodes) if row["kind"] == "token") == tokens


def test_graphml_is_read_back_by_networkx(texas, tmp_path):
    network = nx.read_graphml(viz.graphml(texas, tmp_path / "dallas.graphml"))
    assert network.number_of_nodes() == texas.node_mask.sum()
    assert network.number_of_edges() == texas.edges.nnz
    assert network.graph["prompt"] == texas.graph.metadata.prompt
    node = next(data for _, data in network.nodes(data=True) if data["label"] == "city in Texas")
    assert (node["kind"], node["layer"], node["pos"], node["token"]) == ("feature", 0, 8, "Dallas")
    total = sum(data["weight"] for *_, data in network.edges(data=True))
    assert total == pytest.approx(texas.edges.data.sum())


def test_graphml_of_any_text_is_valid(texas, tmp_path):
    tokens = ("\x00\x1b", "<b>&amp;", "]]>", "\ud800", "line\nbreak", "日本", '"', "", "\ufffe", " ")
    network = nx.read_graphml(viz.graphml(with_tokens(texas, tokens), tmp_path / "t.graphml"))
    shown = [data["label"] for _, data in network.nodes(data=True) if data["kind"] == "token"]
    assert shown[:5] == ["\\x00\\x1b", "<b>&amp;", "]]>", "\\ud800", "line↵break"]


@pytest.mark.parametrize("write", [viz.graphml, viz.tables])
def test_files_are_deterministic_and_whole(texas, tmp_path, write):
    for name in ("a", "b"):
        write(texas, tmp_path / name / "out")
    first = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert first == {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()}
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        write(texas, tmp_path / "file" / "out")


def test_a_graph_is_written_whole(texas_graph, tmp_path):
    _, edges = viz.tables(texas_graph, tmp_path / "whole")
    assert len(rows(edges)) == texas_graph.adjacency.nnz
