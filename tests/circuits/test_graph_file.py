import dataclasses
import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from circuits.graph_file import file_kind, load_circuit, load_graph, save_circuit, save_graph
from circuits.pruning import prune
from replacement_model.errors import GraphFileError, InputError


def assert_same(a, b) -> None:
    """Equal in every field, down to types; NaN equals NaN."""
    assert type(a) is type(b)
    if dataclasses.is_dataclass(a):
        for field in dataclasses.fields(a):
            assert_same(getattr(a, field.name), getattr(b, field.name))
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    elif hasattr(a, "indptr"):
        for part in ("data", "indices", "indptr"):
            assert_same(getattr(a, part), getattr(b, part))
        assert a.shape == b.shape
    elif isinstance(a, tuple):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_same(one, other)
    else:
        assert a == b or (a != a and b != b)


@pytest.fixture
def graph(make_random_graph):
    return make_random_graph(0, dtype=np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_graph_comes_back_as_it_was(make_random_graph, tmp_path, dtype):
    graph = make_random_graph(1, dtype=dtype)
    save_graph(graph, tmp_path / "graph.safetensors")
    assert_same(load_graph(str(tmp_path / "graph.safetensors")), graph)
    assert file_kind(tmp_path / "graph.safetensors") == "graph"


def test_a_circuit_comes_back_as_it_was(graph, tmp_path):
    circuit = prune(graph, 0.7, 0.9)
    save_circuit(circuit, tmp_path / "circuit.safetensors")
    assert_same(load_circuit(tmp_path / "circuit.safetensors"), circuit)
    assert_same(load_graph(tmp_path / "circuit.safetensors"), graph)
    assert file_kind(tmp_path / "circuit.safetensors") == "circuit"


def test_a_loaded_graph_is_pruned_to_the_same_bits(graph, tmp_path):
    save_graph(graph, tmp_path / "graph.safetensors")
    again, first = prune(load_graph(tmp_path / "graph.safetensors")), prune(graph)
    assert_same(again.edges, first.edges)
    assert_same(again.cumulative_influence, first.cumulative_influence)


def test_equal_graphs_give_equal_bytes(make_random_graph, tmp_path):
    for name in ("a", "b"):
        save_graph(make_random_graph(2), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_unsorted_edges_are_stored_sorted(graph, tmp_path):
    save_graph(graph, tmp_path / "sorted")
    matrix = graph.adjacency.copy()
    for row in range(matrix.shape[0]):
        entries = slice(matrix.indptr[row], matrix.indptr[row + 1])
        matrix.indices[entries], matrix.data[entries] = matrix.indices[entries][::-1], matrix.data[entries][::-1]
    matrix.has_canonical_format = matrix.has_sorted_indices = False
    save_graph(dataclasses.replace(graph, adjacency=matrix), tmp_path / "reversed")
    assert (tmp_path / "sorted").read_bytes() == (tmp_path / "reversed").read_bytes()


def test_saving_replaces_and_leaves_nothing_else(graph, tmp_path):
    path = tmp_path / "new folder" / "graph.safetensors"
    save_circuit(prune(graph), path)
    save_graph(graph, path)
    assert [found.name for found in path.parent.iterdir()] == ["graph.safetensors"]
    assert file_kind(path) == "graph"


def refused(path, load=load_graph) -> str:
    with pytest.raises(GraphFileError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(graph, tmp_path, share):
    path = tmp_path / "graph.safetensors"
    save_graph(graph, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert "damaged" in refused(path)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    path.write_text("not a safetensors file at all, though long enough to be read as one")
    refused(path)
    save_file({"weight": np.ones(3)}, path)
    assert "not a graph" in refused(path)


def test_a_missing_file_is_the_callers_error(tmp_path):
    with pytest.raises(InputError, match="found none"):
        load_graph(tmp_path / "nowhere.safetensors")


def test_a_graph_is_not_a_circuit(graph, tmp_path):
    save_graph(graph, tmp_path / "graph")
    assert "prune it" in refused(tmp_path / "graph", load_circuit)


def rewrite(path, change) -> None:
    """Write a file again after `change(header, arrays)`."""
    arrays = load_file(path)
    with safe_open(path, framework="np") as file:
        header = json.loads(file.metadata()["orrery"])
    change(header, arrays)
    save_file(arrays, path, metadata={"orrery": json.dumps(header)})


def put(name: str, index, value):
    def change(header, arrays):
        arrays[name] = arrays[name].copy()
        arrays[name][index] = value

    return change


def resize(name: str, n: int):
    return lambda header, arrays: arrays.update({name: np.resize(arrays[name], n)})


def header_value(value, *keys):
    def change(header, arrays):
        place = header
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return change


DAMAGE = {
    "other schema": (header_value(99, "metadata", "schema_version"), "schema 99, expected 1"),
    "other kind": (header_value("picture", "kind"), "picture"),
    "no targets": (header_value([], "targets"), "expected"),
    "a token more": (header_value(["a"] * 4, "tokens"), "token_ids"),
    "another target kind": (header_value("wish", "targets", 0, "kind"), "wish"),
    "target position": (header_value(3, "targets", 0, "pos"), "target"),
    "unknown target field": (header_value(1, "targets", 0, "colour"), "colour"),
    "unknown label field": (header_value(1, "labels", 0, "colour"), "colour"),
    "ignored positions": (header_value(9, "n_ignored_pos"), "ignored"),
    "no labels": (header_value([], "labels"), "damaged"),
    "missing array": (lambda header, arrays: arrays.pop("features"), "features"),
    "missing books": (lambda header, arrays: arrays.pop("books.omitted"), "books.omitted"),
    "unknown array": (lambda header, arrays: arrays.update(extra=np.ones(1)), "extra"),
    "NaN weight": (put("adjacency.data", 3, np.nan), "adjacency.data holds NaN"),
    "infinite activation": (put("feature_acts", 0, np.inf), "feature_acts holds NaN"),
    "index too large": (put("adjacency.indices", -1, 10**6), "adjacency.indices"),
    "index below zero": (put("adjacency.indices", 0, -1), "adjacency.indices"),
    "index twice": (put("adjacency.indices", slice(None), 1), "sorted adjacency.indices"),
    "offsets fall": (put("adjacency.indptr", 1, 10**6), "adjacency.indptr"),
    "offsets start late": (put("adjacency.indptr", 0, 1), "adjacency.indptr"),
    "offsets too few": (resize("adjacency.indptr", 5), "adjacency.indptr"),
    "fewer weights": (resize("adjacency.data", 7), "adjacency.indptr"),
    "layer too large": (put("features", (-1, 0), 4), "features within"),
    "position below zero": (put("features", (0, 1), -1), "features within"),
    "features unsorted": (put("features", (-1, 0), 0), "sorted"),
    "wrong type": (lambda header, arrays: arrays.update(fvu=arrays["fvu"].astype(np.float32)), "float64"),
    "wrong axes": (lambda header, arrays: arrays.update(token_ids=np.ones((3, 1), dtype=np.int64)), "token_ids"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_in_one_line(graph, tmp_path, name):
    change, expected = DAMAGE[name]
    path = tmp_path / "graph.safetensors"
    save_graph(graph, path)
    rewrite(path, change)
    assert expected in refused(path)


def test_an_edge_from_a_higher_layer_is_refused(make_graph, tmp_path):
    dense = np.zeros((3, 7))
    dense[0, 1] = dense[1, 6] = dense[2, 0] = 1  # feature 0 (layer 0) reads feature 1 (layer 1)
    graph = make_graph(dense, [(0, 0, 0), (1, 0, 0)], [1.0], n_layers=2, n_pos=2)
    save_graph(graph, tmp_path / "graph")
    assert "lower layers" in refused(tmp_path / "graph")


CIRCUIT_DAMAGE = {
    "kept edges of a dropped node": (put("circuit.node_mask", slice(None), False), "kept nodes"),
    "mask too short": (resize("circuit.node_mask", 4), "circuit.node_mask"),
    "score missing": (lambda header, arrays: header["circuit"].pop("replacement_score"), "replacement_score"),
    "edge out of range": (put("circuit.edges.indices", -1, 999), "circuit.edges.indices"),
}


@pytest.mark.parametrize("name", CIRCUIT_DAMAGE)
def test_damage_to_a_circuit_is_named(graph, tmp_path, name):
    change, expected = CIRCUIT_DAMAGE[name]
    path = tmp_path / "circuit.safetensors"
    save_circuit(prune(graph), path)
    rewrite(path, change)
    assert expected in refused(path, load_circuit)


def test_an_unwritable_place_is_the_callers_error(graph, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot write .*; choose another"):
        save_graph(graph, tmp_path / "file" / "graph.safetensors")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"cannot write .*; choose another"):
        save_graph(graph, tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_settings_must_be_plain_values(graph, tmp_path):
    metadata = dataclasses.replace(graph.metadata, settings={"dtype": np.float32})
    with pytest.raises(InputError, match="plain values"):
        save_graph(dataclasses.replace(graph, metadata=metadata), tmp_path / "graph")
    assert list(tmp_path.iterdir()) == []
