import csv
import re

import numpy as np
import pytest

import viz
from circuits.edge_influence import edge_influence
from circuits.pruning import Circuit
from circuits.supernodes.file import load_grouping
from circuits.supernodes.grouped import GroupedCircuit, group
from circuits.supernodes.grouping import Group, Grouping
from viz.kept import as_circuit
from viz.merged import merge


def features_named(circuit: Circuit, *labels: str) -> tuple[int, ...]:
    texts = [None if label is None else label.text for label in circuit.graph.feature_labels]
    return tuple(texts.index(label) for label in labels)


@pytest.fixture
def grouped(texas_graph) -> GroupedCircuit:
    circuit = as_circuit(texas_graph)
    layout = circuit.graph.layout
    city = features_named(circuit, "Dallas", "city in Texas", "Texas (city in Texas)")
    say = features_named(circuit, "say: Austin", "say: a capital in the South")
    return group(circuit, Grouping((Group("Texas <&>", (*city, layout.token_node(8))), Group("say Austin", say))))


def test_weights_and_influence_are_those_of_the_grouped_circuit(grouped: GroupedCircuit) -> None:
    """Features merged, everything else by itself: against dense sums over the original circuit."""
    merged, circuit = merge(grouped), grouped.circuit
    layout, whole = merged.circuit.graph.layout, circuit.graph.layout
    names = {label.text: node for node, label in enumerate(merged.circuit.graph.feature_labels) if label is not None}
    city, austin = grouped.blocks[0][:3], whole.target_nodes.start
    row = whole.target_rows.start
    expected = circuit.edges.toarray()[row, list(city)].sum()
    found = merged.circuit.edges.toarray()[layout.target_rows.start, names["Texas <&>"]]
    assert found == pytest.approx(expected)
    flow = edge_influence(circuit).toarray()
    assert merged.influence.toarray()[layout.target_rows.start, names["Texas <&>"]] == pytest.approx(
        flow[row, list(city)].sum()
    )
    token = merged.circuit.edges.toarray()[names["Texas <&>"], layout.token_node(8)]
    assert token == pytest.approx(circuit.edges.toarray()[list(city), whole.token_node(8)].sum())
    assert austin == whole.n_cols


def test_nothing_but_inner_and_sideways_edges_is_left_out(grouped: GroupedCircuit) -> None:
    merged = merge(grouped)
    total = edge_influence(grouped.circuit).sum()
    left_out = float(re.search(r"carry (\d+)%", merged.note)[1]) / 100
    between = re.search(r"between supernodes of the same layers (\d+)%", merged.note)
    left_out += float(between[1]) / 100 if between else 0.0
    assert merged.influence.sum() == pytest.approx(total * (1 - left_out), abs=0.011 * total)
    layers = [
        merged.circuit.graph.node_attributes(node)["layer"] for node in range(merged.circuit.graph.layout.n_nodes)
    ]
    edges = merged.circuit.edges.tocoo()
    targets = merged.circuit.graph.layout.row_nodes()[edges.row]
    assert all(layers[target] > layers[source] for target, source in zip(targets, edges.col, strict=True))


def test_the_picture_shows_supernodes_with_their_size(grouped: GroupedCircuit) -> None:
    source = viz.graphviz(grouped).source
    assert "Texas &lt;&amp;&gt;" in source
    assert "3 features, layers 0–1" in source
    assert "2 features, layer 3" in source
    assert "supernode" in source
    assert "Edges within supernodes carry" in source.replace("\\l", " ").replace("\n", " ")
    assert "say: Austin" not in source.replace("tooltip", "").split("say: Austin")[0]
    assert viz.graphviz(grouped).source == source


def test_without_supernodes_the_picture_shows_the_same_edges(texas: Circuit) -> None:
    plain, merged = viz.graphviz(texas).source, viz.graphviz(group(texas, Grouping(()))).source
    arrows = re.compile(r"^\tn\d+ -> n\d+ ", re.MULTILINE)
    assert len(arrows.findall(plain)) == len(arrows.findall(merged)) > 5
    assert "penwidth=2.4 " not in merged


def test_json_round_trips_with_our_own_ids(grouped: GroupedCircuit, tmp_path) -> None:
    path = tmp_path / "texas.json"
    viz.write_graph_json(grouped, path)
    assert load_grouping(path, grouped.circuit.graph) == grouped.grouping
    value = viz.graph_json(grouped)
    ids = {node["node_id"] for node in value["nodes"]}
    assert set(value["qParams"]["pinnedIds"]) <= ids
    assert [row[0] for row in value["qParams"]["supernodes"]] == ["Texas <&>", "say Austin"]
    assert viz.graph_json(grouped.circuit)["qParams"]["supernodes"] == []


def test_tables_and_graphml_name_the_supernode(grouped: GroupedCircuit, tmp_path) -> None:
    nodes, edges, blocks, block_edges = viz.tables(grouped, tmp_path / "texas")
    rows = list(csv.DictReader(nodes.read_text(encoding="utf-8").splitlines()))
    assert sum(row["supernode"] == "Texas <&>" for row in rows) == 4
    rows = list(csv.DictReader(blocks.read_text(encoding="utf-8").splitlines()))
    assert [row["kind"] for row in rows[:3]] == ["supernode", "supernode", "feature"]
    assert len(rows[0]["node_ids"].split()) == 4
    rows = list(csv.DictReader(block_edges.read_text(encoding="utf-8").splitlines()))
    np.testing.assert_array_equal([float(row["weight"]) for row in rows], grouped.edges.data)
    assert edges.is_file()
    assert "Texas &lt;&amp;&gt;" in viz.graphml(grouped, tmp_path / "texas.graphml").read_text(encoding="utf-8")


def test_the_overview_counts_everything(grouped: GroupedCircuit) -> None:
    facts = viz.group_summary_dict(grouped)
    assert facts["found"] is None
    assert facts["supernodes"][0]["features"] == [
        list(one) for one in grouped.grouping.groups[0].features(grouped.circuit.graph)
    ]
    total = grouped.circuit.graph.target_weights.sum()
    through = sum(edge["influence"] for edge in facts["edges"]) + grouped.inner_influence.sum() / total
    assert through == pytest.approx(edge_influence(grouped.circuit).sum() / total)
    assert facts["inner_share"] == pytest.approx(grouped.inner_influence.sum() / total / through)
