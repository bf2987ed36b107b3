"""circuit-tracer's own graph file, written by it in its environment, read and pruned here."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from random_checkpoints import BOS, D_VOCAB, Checkpoint, write_checkpoint
from reference_graphs import load_reference

import viz
from benchmarks.environment import Tools, peer_is_installed
from benchmarks.layered_graph import LayeredGraph
from benchmarks.worker import Worker
from circuits import Circuit, prune, read_graph_json
from viz.exchange.validation import validate_graph_json

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not peer_is_installed(), reason="runs once `make test-4.57` has made .venv-4.57"),
]

# 120 features a layer and 4 layers: some of the features 0 to 3 of layer 0 are active where errors have their ids.
CASES = {
    "gemma2 plt": Checkpoint("gemma2", False, "relu", "ln2.hook_normalized", config={"num_hidden_layers": 4}, seed=31),
    "llama clt": Checkpoint("llama", True, "relu", "hook_resid_mid", config={"num_hidden_layers": 4}, seed=32),
    "gpt2 plt": Checkpoint("gpt2", False, "relu", "ln2.hook_normalized", config={"n_layer": 4}, seed=33),
}


@pytest.fixture(scope="module")
def peer() -> Iterator[Worker]:
    with Tools(n_threads=1).peer() as worker:
        yield worker


@pytest.fixture(scope="module", params=CASES)
def written(request, peer: Worker, tmp_path_factory) -> tuple[Path, dict[str, np.ndarray]]:
    """Its file, and its arrays in float64."""
    folder = tmp_path_factory.mktemp("peer")
    ids = [BOS, *np.random.default_rng(7).integers(4, D_VOCAB, 11).tolist()]
    write_checkpoint(CASES[request.param], ids, folder)
    model, files = str(folder / "model"), folder / "files"
    peer.call("load_model", model=model, transcoder=str(folder / "transcoder"), dtype="float64")
    names = {"folder": str(files), "slug": "random", "scan": "random-scan", "tokenizer": model}
    thresholds = {"node_threshold": 0.9, "edge_threshold": 0.98}
    peer.call("reference", token_ids=ids, save_to=str(folder / "found.npz"), graph_files=names, **thresholds)
    path = files / "random.json"
    assert ids_collide(path) or request.param != "llama clt", "one case must have ids that collide"
    return path, load_reference(folder / "found.npz")


def ids_collide(path: Path) -> bool:
    ids = [node["node_id"] for node in json.loads(path.read_bytes())["nodes"]]
    return len(set(ids)) < len(ids)


def test_every_node_and_edge_is_read(written) -> None:
    path, arrays = written
    found = read_graph_json(path)
    features = arrays["active_features"][arrays["selected_features"]]
    n_features, n_cols = len(features), arrays["edges"].shape[1]
    kept = arrays["node_mask"][:n_features]
    np.testing.assert_array_equal(found.graph.features, features[kept])
    np.testing.assert_array_equal(found.node_mask[int(kept.sum()) :], arrays["node_mask"][n_features:])
    edge_mask = np.unpackbits(arrays["edge_mask"], axis=1)[:, :n_cols].astype(bool)
    rows = np.concatenate([kept, np.ones(len(edge_mask) - n_features, dtype=bool)])
    cols = np.concatenate([kept, np.ones(n_cols - n_features, dtype=bool)])
    expected = np.where(edge_mask, arrays["edges"], 0.0)[rows][:, cols]
    np.testing.assert_allclose(found.edges.toarray(), expected, rtol=1e-6, atol=0)
    assert found.graph.token_ids.tolist() == arrays["tokens"].tolist()
    assert [target.token_ids[0] for target in found.graph.targets] == arrays["logit_token_ids"].tolist()
    np.testing.assert_allclose(found.graph.target_weights, arrays["logit_probabilities"], rtol=1e-6)
    np.testing.assert_allclose(
        found.graph.feature_acts, arrays["activations"][arrays["selected_features"]][kept], rtol=1e-6
    )
    assert (found.graph.read_from["links_resolved"] > 0) == ids_collide(path)


def test_pruned_further_it_is_what_circuit_tracer_keeps_of_these_edges(written, peer: Worker, tmp_path: Path) -> None:
    circuit = prune(read_graph_json(written[0]).graph, 0.6, 0.9)
    stored(circuit).save(tmp_path / "graph.npz")
    peer.call("load_graph", path=str(tmp_path / "graph.npz"), dtype="float64")
    peer.call("prune", node_threshold=0.6, edge_threshold=0.9, save_to=str(tmp_path / "masks.npz"))
    masks = load_reference(tmp_path / "masks.npz")
    edge_mask = np.unpackbits(masks["edge_mask"], axis=1)[:, : circuit.graph.layout.n_cols].astype(bool)
    np.testing.assert_array_equal(circuit.node_mask, masks["node_mask"])
    np.testing.assert_array_equal(circuit.edges.toarray() != 0, edge_mask)


def test_its_file_breaks_the_rules_that_are_known_and_ours_of_it_none(written) -> None:
    path, _ = written
    broken = {one.rule for one in validate_graph_json(json.loads(path.read_bytes())) if one.level == "error"}
    assert broken <= {"node-id-unique", "js-node-id-unique"}
    assert ("node-id-unique" in broken) == ids_collide(path)
    assert validate_graph_json(viz.graph_json(read_graph_json(path))) == []


def test_its_list_of_graphs_is_valid_but_for_titles(written) -> None:
    (checked,) = viz.validate(written[0].parent / "graph-metadata.json")
    assert {one.rule for one in checked.violations} == {"title-prefix"}


def stored(circuit: Circuit) -> LayeredGraph:
    graph = circuit.graph
    adjacency = graph.adjacency
    return LayeredGraph(
        n_layers=graph.n_layers,
        n_pos=len(graph.tokens),
        sites=graph.features[:, :2].astype(np.int64),
        target_weights=graph.target_weights,
        indptr=adjacency.indptr,
        indices=adjacency.indices,
        values=adjacency.data,
    )
