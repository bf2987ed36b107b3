"""Files of other programs, read: what is in them exactly, what is not as unknown, and nothing that is wrong."""

import copy
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_graphs import as_attribute, as_circuit_tracer

from circuits import Circuit, Group, load_circuit, load_graph, prune, read_graph_json, save_circuit, save_graph
from circuits.graph_file import file_kind
from circuits.graph_json.parsing import is_json
from circuits.influence import node_influence
from replacement_model.errors import GraphFileError, InputError

FEATURE, ERROR, LOGIT = "cross layer transcoder", "mlp reconstruction error", "logit"


@pytest.fixture(scope="module")
def circuit(make_random_graph) -> Circuit:
    """Features 0 to 29, of which those below 4 at layer 0 share ids with errors in circuit-tracer's files."""
    return prune(make_random_graph(0), 0.95, 0.99)


@pytest.fixture
def written(tmp_path: Path) -> Callable[[Any], Path]:
    def write(value: Any) -> Path:
        (tmp_path / "graph.json").write_text(json.dumps(value))
        return tmp_path / "graph.json"

    return write


def assert_same(found: Circuit, expected: Circuit) -> None:
    """The nodes and edges that are kept, by what they are; nothing else is in the file."""
    kept = expected.node_mask[expected.graph.layout.feature_nodes]
    np.testing.assert_array_equal(found.graph.features, expected.graph.features[kept])
    assert found.graph.n_layers == expected.graph.n_layers
    assert found.node_mask[found.graph.layout.feature_nodes].all()
    rest = expected.graph.layout.n_features
    np.testing.assert_array_equal(found.node_mask[found.graph.layout.n_features :], expected.node_mask[rest:])
    rows = np.concatenate([kept, np.ones(expected.graph.layout.n_targets, dtype=bool)])
    cols = np.concatenate([kept, np.ones(expected.graph.layout.n_cols - rest, dtype=bool)])
    np.testing.assert_array_equal(found.edges.toarray(), expected.edges.toarray()[rows][:, cols])
    np.testing.assert_array_equal(found.graph.adjacency.toarray(), found.edges.toarray())


@pytest.mark.parametrize("seed", range(2))
def test_circuit_tracers_file_whose_ids_collide(make_random_graph, written, seed: int) -> None:
    expected = prune(make_random_graph(seed, density=0.9), 0.99, 0.999)
    value = as_circuit_tracer(expected)
    ids = [node["node_id"] for node in value["nodes"]]
    assert len(set(ids)) < len(ids)
    found = read_graph_json(written(value))
    assert_same(found, expected)
    assert found.graph.read_from["links_resolved"] > 5
    assert found.graph.read_from["producer"] == "circuit-tracer"
    np.testing.assert_array_equal(found.graph.feature_acts, expected.graph.feature_acts[expected.node_mask[:30]])


def test_of_files_with_few_links_none_is_read_wrongly(make_random_graph, written) -> None:
    n_read = 0
    for seed in range(6):
        expected = prune(make_random_graph(seed), 0.95, 0.99)
        path = written(as_circuit_tracer(expected))
        try:
            found = read_graph_json(path)
        except GraphFileError as error:
            assert "may come from a feature of layer 0 or from an error" in str(error)  # noqa: PT017
        else:
            assert_same(found, expected)
            n_read += 1
    assert 1 <= n_read < 6


def test_attributes_file(circuit, written) -> None:
    found = read_graph_json(written(as_attribute(circuit)))
    assert_same(found, circuit)
    assert np.isnan(found.graph.feature_acts).all()
    assert (found.graph.token_ids == -1).all()
    origin = found.graph.read_from
    assert origin["producer"] == "attribute"
    assert "per unit of activation" in origin["notes"][0]
    assert {"activations", "token ids", "books", "edges that were pruned"} <= set(origin["not_in_file"])
    assert [target.token_ids for target in found.graph.targets] == [()] * 3
    assert [target.label for target in found.graph.targets] == ["out 0", "out 1", "out 2"]


def test_what_the_file_does_not_say_is_unknown(circuit, written) -> None:
    value = as_circuit_tracer(circuit)
    del value["metadata"]["node_threshold"]
    found = read_graph_json(written(value))
    books = found.graph.books
    assert all(np.isnan(one).all() for one in (books.pre_act, books.constant, books.omitted, books.rounding))
    unknown = (books.residual, *found.graph.fvu, found.node_threshold, found.edge_threshold, found.replacement_score)
    assert all(math.isnan(one) for one in unknown)


def test_influence_is_the_files_and_what_the_edges_say(circuit, written) -> None:
    found = read_graph_json(written(as_circuit_tracer(circuit)))
    kept = circuit.node_mask.copy()
    kept[circuit.graph.layout.target_nodes] = False
    np.testing.assert_array_equal(found.cumulative_influence[found.node_mask][:-3], circuit.cumulative_influence[kept])
    assert (found.cumulative_influence[~found.node_mask] == 1).all()
    edges = node_influence(circuit.edges, circuit.graph.target_weights)
    np.testing.assert_allclose(found.node_influence[found.node_mask][:-3], edges[kept[:-3]], rtol=1e-12)
    assert found.circuit_replacement_score == pytest.approx(circuit.circuit_replacement_score, rel=1e-12)


def test_without_influence_in_the_file_it_is_that_of_the_edges(circuit, written) -> None:
    value = as_circuit_tracer(circuit)
    value["nodes"][0]["influence"] = None
    found = read_graph_json(written(value))
    assert "cumulative influence" in found.graph.read_from["not_in_file"]
    np.testing.assert_array_equal(found.cumulative_influence, prune(found.graph, 1.0, 1.0).cumulative_influence)


def test_it_can_be_pruned_further(circuit, written) -> None:
    found = read_graph_json(written(as_circuit_tracer(circuit)))
    smaller = prune(found.graph, 0.5, 0.8)
    assert 0 < smaller.edges.nnz < found.edges.nnz
    assert (smaller.node_mask <= prune(found.graph, 0.9, 0.99).node_mask).all()


def test_it_is_loaded_as_any_graph_is_and_saved_as_any_is(circuit, written, tmp_path: Path) -> None:
    path = written(as_attribute(circuit))
    assert file_kind(path) == "circuit"
    found, own = load_circuit(path), tmp_path / "own.safetensors"
    save_circuit(found, own)
    again = load_circuit(own)
    assert_same(again, found)
    np.testing.assert_array_equal(again.graph.feature_acts, found.graph.feature_acts)
    assert again.graph.read_from == found.graph.read_from
    assert math.isnan(again.replacement_score)
    save_graph(load_graph(path), own)
    assert load_graph(own).read_from is not None


def test_unknown_numbers_are_taken_only_from_such_files(circuit, tmp_path: Path) -> None:
    acts = circuit.graph.feature_acts.copy()
    acts[0] = np.nan
    save_graph(replace(circuit.graph, feature_acts=acts), tmp_path / "x.safetensors")
    with pytest.raises(GraphFileError, match="feature_acts holds NaN"):
        load_graph(tmp_path / "x.safetensors")


def test_a_graph_of_our_own_was_not_read_from_anywhere(circuit) -> None:
    assert circuit.graph.read_from is None


def test_indices_without_a_schema_version_are_as_they_are(circuit, written) -> None:
    value = as_circuit_tracer(circuit)
    del value["metadata"]["schema_version"]
    assert_same(read_graph_json(written(value)), circuit)  # all are Cantor pairs of their layers
    for node in value["nodes"]:
        if node["feature_type"] == FEATURE:
            node["feature"] = int(node["node_id"].split("_")[1])
    assert_same(read_graph_json(written(value)), circuit)


def test_probabilities_may_stand_in_labels_alone(circuit, written) -> None:
    value = as_circuit_tracer(circuit)
    for node in value["nodes"]:
        del node["token_prob"]
    found = read_graph_json(written(value)).graph.target_weights
    np.testing.assert_allclose(found, circuit.graph.target_weights, atol=5e-4)


def collide(value: dict[str, Any], source: str) -> None:
    """A feature of layer 0 and an error of layer 0 at position 0, with one id and one link to the first logit."""
    feature = next(node for node in value["nodes"] if node["feature_type"] == FEATURE)
    error = next(node for node in value["nodes"] if node["feature_type"] == LOGIT)
    value["nodes"] = [
        feature | {"node_id": "0_0_0", "layer": "0", "ctx_idx": 0, "feature": 0},
        feature | {"node_id": "0_0_0", "layer": "0", "ctx_idx": 0, "feature": -1, "feature_type": ERROR},
        error,
    ]
    value["links"] = [{"source": source, "target": error["node_id"], "weight": 1.0}]


def test_a_link_that_nothing_decides_is_refused(circuit, written) -> None:
    value = as_circuit_tracer(circuit)
    collide(value, "0_0_0")
    with pytest.raises(GraphFileError, match=r"1 links may come from .* layer 0 or from an error.*'0_0_0'"):
        read_graph_json(written(value))


def test_two_links_between_the_same_ids_are_the_features_and_the_errors(circuit, written) -> None:
    value = as_circuit_tracer(circuit)
    collide(value, "0_0_0")
    value["links"].append(value["links"][0] | {"weight": 2.0})
    found = read_graph_json(written(value))
    row = found.edges.toarray()[1]
    assert (row[0], row[found.graph.layout.error_node(0, 0)]) == (1.0, 2.0)


def test_the_layer_of_the_target_may_decide(circuit, written) -> None:
    # The error of layer 1 cannot act on a feature of layer 1, feature 1 of layer 0 can.
    value = as_circuit_tracer(circuit)
    collide(value, "0_1_0")
    feature, error, logit = value["nodes"]
    target = feature | {"node_id": "1_5_0", "layer": "1", "feature": (1 + 5) * (1 + 5 + 1) // 2 + 5}
    value["nodes"] = [
        feature | {"node_id": "0_1_0", "feature": 2},
        target,
        error | {"node_id": "0_1_0", "layer": "1"},
        logit,
    ]
    value["links"] = [{"source": "0_1_0", "target": "1_5_0", "weight": 1.0}]
    found = read_graph_json(written(value))
    assert found.graph.features.tolist() == [[0, 0, 1], [1, 0, 5]]
    assert found.edges.toarray()[1, 0] == 1.0
    # With that the feature has a link; the one other link of the id is then the error's, which has none.
    value["links"].append({"source": "0_1_0", "target": logit["node_id"], "weight": 2.0})
    found = read_graph_json(written(value))
    assert found.edges.toarray()[2, found.graph.layout.error_node(1, 0)] == 2.0


def test_in_a_file_without_order_nothing_is_guessed(make_random_graph, written) -> None:
    value = as_circuit_tracer(prune(make_random_graph(3), 1.0, 1.0))
    assert read_graph_json(written(value)).graph.read_from["links_resolved"] > 0
    value["links"].reverse()
    with pytest.raises(GraphFileError, match="links may come from"):
        read_graph_json(written(value))


Change = Callable[[dict[str, Any]], object]
WRONG: dict[str, tuple[Change, str]] = {
    "no nodes": (lambda v: v.pop("nodes"), "expected nodes as list"),
    "a node is no object": (lambda v: v["nodes"].append(3), "only objects in nodes"),
    "no tokens": (lambda v: v["metadata"].update(prompt_tokens=[]), "prompt_tokens"),
    "no id": (lambda v: v["nodes"][0].pop("node_id"), "a text at /nodes/0/node_id"),
    "another kind of node": (lambda v: v["nodes"][0].update(feature_type="lorsa"), "known kind of node at /nodes/0"),
    "a position outside": (lambda v: v["nodes"][0].update(ctx_idx=3), "position from 0 to 2 at /nodes/0/ctx_idx"),
    "a layer without end": (lambda v: v["nodes"][0].update(layer=10**9), "a layer below 1000"),
    "a layer of words": (lambda v: v["nodes"][0].update(layer="top"), "a layer below 1000"),
    "not a Cantor pair": (lambda v: v["nodes"][0].update(feature=8, layer="0"), "index of a feature at layer 0"),
    "an endless index": (lambda v: v["nodes"][0].update(feature=2**61), "index of a feature"),
    "an activation of words": (lambda v: v["nodes"][0].update(activation="1"), "finite number or null"),
    "an infinite influence": (lambda v: v["nodes"][0].update(influence=math.inf), "finite number or null"),
    "a feature twice": (lambda v: v["nodes"].append(v["nodes"][0] | {"node_id": "again"}), "each cross layer .* once"),
    "an id twice": (lambda v: v["nodes"].append(v["nodes"][0] | {"feature": 2}), "a node_id of its own"),
    "a link to nowhere": (lambda v: v["links"][0].update(target="x"), "node_id of a node at /links/0/target"),
    "a link from no text": (lambda v: v["links"][0].update(source=[1]), "node_id of a node at /links/0/source"),
    "a weight of words": (lambda v: v["links"][0].update(weight="1"), "finite number at /links/0/weight"),
    "an infinite weight": (lambda v: v["links"][0].update(weight=math.inf), "finite number at /links/0/weight"),
    "a link twice": (lambda v: v["links"].append(v["links"][0]), "each link once"),
    "a link downward": (
        lambda v: v["links"][0].update(source=v["links"][0]["target"], target=v["links"][0]["source"]),
        "a feature or a logit at /links/0/target|from lower layers to higher ones",
    ),
    "too few layers": (lambda v: v["metadata"].update(n_layers=1), "to 1000 layers, got 1"),
    "no logits": (
        lambda v: v.update(nodes=[n for n in v["nodes"] if n["feature_type"] != LOGIT], links=[]),
        "one token and one target",
    ),
    "no probability": (lambda v: v["nodes"][-1].update(token_prob=None, clerp=""), "a probability of logit"),
    "all probabilities 0": (
        lambda v: [n.update(token_prob=0, clerp="(p=0.000)") for n in v["nodes"] if n["feature_type"] == LOGIT],
        "share out influence",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_refused_with_its_place(circuit, written, name: str) -> None:
    change, message = WRONG[name]
    value = copy.deepcopy(as_circuit_tracer(circuit))
    change(value)
    with pytest.raises(GraphFileError, match=f"cannot be read as graph JSON.*({message})"):
        read_graph_json(written(value))


@pytest.mark.parametrize("value", [[], 3, None, {}, {"metadata": {}, "nodes": [], "links": []}])
def test_what_is_no_graph_is_refused(written, value: Any) -> None:
    with pytest.raises(GraphFileError, match="cannot be read as graph JSON"):
        read_graph_json(written(value))


def test_a_prompt_too_long_for_its_layers_is_refused(circuit, written) -> None:
    value = as_circuit_tracer(circuit)
    value["metadata"] |= {"prompt_tokens": ["a"] * 20_000, "n_layers": 999}
    with pytest.raises(GraphFileError, match="layers times positions"):
        read_graph_json(written(value))


def test_json_is_known_by_its_name_or_its_beginning(circuit, tmp_path: Path) -> None:
    (tmp_path / "graph").write_text("\n {}")
    save_graph(circuit.graph, tmp_path / "graph.safetensors")
    assert is_json(tmp_path / "graph")
    assert is_json(tmp_path / "absent.json")
    assert not is_json(tmp_path / "graph.safetensors")
    assert not is_json(tmp_path / "absent")
    (tmp_path / "other").write_bytes(b"{\0\0\0\0\0\0\0" + b"{" + b" " * 200)  # a header of 123 bytes
    assert not is_json(tmp_path / "other")
    with pytest.raises(InputError, match="No such file"):
        load_graph(tmp_path / "absent.json")


def test_a_supernode_without_known_activations_is_none_to_swap_in(circuit, written) -> None:
    graph = read_graph_json(written(as_attribute(circuit))).graph
    group = Group("some", (0, 1))
    assert len(group.features(graph)) == 2
    with pytest.raises(InputError, match="the file that the graph was read from has none"):
        group.supernode(graph)
