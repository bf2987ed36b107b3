import json
from pathlib import Path

import pytest

from circuits.supernodes.file import load_grouping, named_groups, parse_groups, save_grouping
from circuits.supernodes.grouping import Group, Grouping
from replacement_model.errors import GraphFileError, InputError


@pytest.fixture
def graph(make_random_graph):
    return make_random_graph(4)


@pytest.fixture
def grouping(graph) -> Grouping:
    token, target = graph.layout.token_node(0), graph.layout.target_nodes.start
    return Grouping((Group("say: “Austin”\n", (5, 1, target)), Group("", (2,)), Group("", (token, 3))))


def test_round_trip_in_equal_bytes(graph, grouping: Grouping, tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        save_grouping(grouping, graph, tmp_path / name, {"silhouette": 0.5})
    assert load_grouping(tmp_path / "a.json", graph) == grouping
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    content = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert content["schema_version"] == 1
    assert content["prompt"] == "a prompt"
    assert content["silhouette"] == 0.5
    assert content["supernodes"] == named_groups(grouping, graph)


def test_no_supernodes_round_trip_too(graph, tmp_path: Path) -> None:
    save_grouping(Grouping(()), graph, tmp_path / "none.json")
    assert load_grouping(tmp_path / "none.json", graph) == Grouping(())


def test_ids_are_those_of_exported_nodes(graph, grouping: Grouping) -> None:
    layer, pos, idx = graph.features[5].tolist()
    label, first, *_, target = named_groups(grouping, graph)[0]
    assert (label, first) == ("say: “Austin”\n", f"{layer}_{idx}_{pos}")
    assert target == f"{graph.n_layers + 1}_0_2"
    assert parse_groups(named_groups(grouping, graph), graph) == grouping


def test_graph_json_is_read_too(graph, grouping: Grouping, tmp_path: Path) -> None:
    path = tmp_path / "graph.json"
    path.write_text(json.dumps({"qParams": {"supernodes": named_groups(grouping, graph)}, "nodes": []}))
    assert load_grouping(path, graph) == grouping
    path.write_text(json.dumps({"qParams": {}}))
    assert load_grouping(path, graph) == Grouping(())


@pytest.mark.parametrize(
    "content",
    ["not json", "[]", "{}", '{"schema_version": 2, "supernodes": []}', '{"schema_version": 1, "supernodes": {}}'],
)
def test_other_files_are_refused(graph, tmp_path: Path, content: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(content)
    with pytest.raises(GraphFileError, match="holds no supernodes"):
        load_grouping(path, graph)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (["label"], "as a list of its label and node ids, got 'label'"),
        ([[]], "as a list of its label"),
        ([["label", 5]], "as a list of its label"),
        ([["label", "9_9_9"]], "has node '9_9_9', which the graph does not have"),
        ([["label"]], "nodes in supernode 'label', got none"),
    ],
)
def test_rows_that_name_no_supernodes_are_refused(graph, rows: list, says: str) -> None:
    with pytest.raises(InputError, match=says):
        parse_groups(rows, graph)


def test_a_missing_file_is_refused(graph, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found no file; write one with `orrery group"):
        load_grouping(tmp_path / "none.json", graph)
