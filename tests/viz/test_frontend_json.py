import dataclasses
import json
import re

import numpy as np
import pytest

import viz
from circuits.graph import Target
from circuits.pruning import prune
from replacement_model.errors import InputError
from replacement_model.evidence.folder import EvidenceFolder, write_index, write_layer
from replacement_model.evidence.record import Example, FeatureEvidence, Quantile, cantor_pair


def by_type(value, feature_type):
    return [node for node in value["nodes"] if node["feature_type"] == feature_type]


def test_nodes_and_links_are_those_of_the_circuit(texas):
    value = viz.graph_json(texas)
    assert len(value["nodes"]) == texas.node_mask.sum()
    assert len(value["links"]) == texas.edges.nnz
    weights = sorted(link["weight"] for link in value["links"])
    np.testing.assert_array_equal(weights, np.sort(texas.edges.data))


def test_a_link_runs_from_source_to_target(texas):
    # Edge by edge: the weight between two names is the adjacency at their target and source.
    value, graph = viz.graph_json(texas), texas.graph
    names = {node["node_id"]: node for node in value["nodes"]}
    dense = graph.adjacency.toarray()
    austin = graph.layout.target_rows.start
    into = {link["source"]: link["weight"] for link in value["links"] if link["target"] == "5_17_9"}
    for source, weight in into.items():
        if names[source]["feature_type"] == "embedding":
            assert weight == dense[austin, graph.layout.token_node(names[source]["ctx_idx"])]
    assert len(into) == np.diff(texas.edges.indptr)[austin]


def test_a_feature(texas):
    value, graph = viz.graph_json(texas), texas.graph
    node = next(node for node in by_type(value, "cross layer transcoder") if node["clerp"] == "city in Texas")
    k = next(k for k, label in enumerate(graph.feature_labels) if label and label.text == "city in Texas")
    layer, pos, idx = graph.features[k].tolist()
    assert node["node_id"] == node["jsNodeId"] == f"{layer}_{idx}_{pos}"
    assert (node["layer"], node["ctx_idx"]) == (str(layer), pos)
    assert node["feature"] == (layer + idx) * (layer + idx + 1) // 2 + idx
    assert node["activation"] == graph.feature_acts[k]
    assert node["influence"] == pytest.approx(texas.cumulative_influence[k])


def test_a_logit(texas):
    logits = by_type(viz.graph_json(texas), "logit")
    assert logits[0]["clerp"] == 'Output " Austin" (p=0.930)'
    assert [node["token_prob"] for node in logits] == [0.93, 0.03, 0.01]
    assert [node["is_target_logit"] for node in logits] == [True, False, False]
    assert {node["layer"] for node in logits} == {"5"}


def test_tokens_and_errors(texas_graph):
    value = viz.graph_json(texas_graph)
    assert [node["clerp"] for node in by_type(value, "embedding")][8] == 'Emb: "Dallas"'
    errors = by_type(value, "mlp reconstruction error")
    assert errors
    assert all(re.fullmatch(r"\d_error_mlp_\d", node["node_id"]) for node in errors)


def test_metadata_says_where_it_comes_from(texas):
    metadata = viz.graph_json(texas)["metadata"]
    assert metadata["schema_version"] == 1
    assert metadata["node_threshold"] == 0.8
    assert metadata["pruning_settings"] == {"node_threshold": 0.8, "edge_threshold": 0.98}
    assert metadata["generation_settings"] == {"max_feature_nodes": 2000}
    assert metadata["info"]["generator"]["name"] == "Orrery"
    assert metadata["info"]["books_residual"] == texas.graph.books.residual
    assert metadata["info"]["replacement_score"] == texas.replacement_score


@pytest.mark.parametrize(
    "name", ["google/gemma-scope-2-1b-pt//clt/width_262k_l0_medium_affine", "..", "日本", "", "a b/../c"]
)
def test_names_are_made_safe(texas, name):
    metadata = dataclasses.replace(texas.graph.metadata, transcoder_name=name, prompt="¿Qué? " + name)
    circuit = dataclasses.replace(texas, graph=dataclasses.replace(texas.graph, metadata=metadata))
    assert viz.validate_graph_json(viz.graph_json(circuit)) == []


def test_slugs_tell_graphs_of_one_prompt_apart(texas_graph):
    slugs = [viz.graph_json(prune(texas_graph, share))["metadata"]["slug"] for share in (0.7, 0.8, 0.8)]
    assert slugs[0] != slugs[1] == slugs[2]
    assert slugs[0].startswith("fact-the-capital-of-the-state-containing-dallas-")


def test_other_targets_obey_the_rules(other_targets):
    logits = by_type(viz.graph_json(other_targets), "logit")
    assert [node["clerp"] for node in logits] == [
        "Difference: Austin − Houston (p=1.000)",
        "Direction: truth (p=1.000)",
        "Feature: L2 #17 say: a capital (p=1.000)",
    ]
    assert [node["feature"] for node in logits] == [None, None, None]
    assert [node["ctx_idx"] for node in logits] == [9, 8, 3]


def test_a_tiny_graph_obeys_the_rules(make_graph):
    graph = make_graph([(0, 1, None)], ("a", "b"), [Target("logit", "x", 1, 1.0, 1, (1,))], n_layers=1)
    assert viz.validate_graph_json(viz.graph_json(graph)) == []


def test_a_broken_name_is_refused(texas, tmp_path):
    with pytest.raises(InputError, match="slug-characters at /metadata/slug"):
        viz.write_graph_json(texas, tmp_path, slug="../escape")
    assert list(tmp_path.iterdir()) == []


def test_a_weight_that_is_not_finite_is_refused(texas):
    edges = texas.edges.copy()
    edges.data[3] = np.nan
    with pytest.raises(InputError, match="link-weight at /links/3/weight"):
        viz.graph_json(dataclasses.replace(texas, edges=edges))


def test_a_folder_to_serve(texas, tmp_path):
    data, index, *copies_and_features = viz.write_graph_json(texas, tmp_path / "site", slug="dallas", scan="pocket")
    copies, features = copies_and_features[:2], copies_and_features[2:]
    assert data == tmp_path / "site" / "graph_data" / "dallas.json"
    assert index == tmp_path / "site" / "graph-metadata.json"
    value = json.loads(data.read_bytes())
    assert value == viz.graph_json(texas, slug="dallas", scan="pocket")
    assert [copy.parent.name for copy in copies] == ["data", "graph_data"]
    assert {copy.read_bytes() for copy in copies} == {index.read_bytes()}
    entry = json.loads(index.read_bytes())["graphs"][0]
    assert sorted(entry) == ["prompt", "prompt_tokens", "scan", "slug", "title_prefix"]
    named = {f"{node['feature']}.json" for node in by_type(value, "cross layer transcoder")}
    assert {path.name for path in features} == named
    assert {path.parent for path in features} == {tmp_path / "site" / "features" / "pocket"}


def test_a_feature_file(texas, tmp_path):
    *_, path = viz.write_graph_json(texas, tmp_path)
    value = json.loads(path.read_bytes())
    assert str(value["index"]) == path.stem
    example = value["examples_quantiles"][0]["examples"][0]
    assert example["tokens"] == list(texas.graph.tokens)
    assert len(example["tokens_acts_list"]) == len(example["tokens"])
    assert (
        max(example["tokens_acts_list"]) == example["tokens_acts_list"][example["train_token_ind"]] == value["act_max"]
    )


def test_a_folder_holds_many_graphs_and_replaces_one_of_the_same_slug(texas, texas_graph, tmp_path):
    viz.write_graph_json(texas, tmp_path, slug="one")
    viz.write_graph_json(prune(texas_graph, 0.7), tmp_path, slug="two")
    viz.write_graph_json(prune(texas_graph, 0.9), tmp_path, slug="one")
    graphs = json.loads((tmp_path / "graph-metadata.json").read_bytes())["graphs"]
    assert sorted(entry["slug"] for entry in graphs) == ["one", "two"]
    value = json.loads((tmp_path / "graph_data" / "one.json").read_bytes())
    assert value["metadata"]["node_threshold"] == 0.9


@pytest.mark.parametrize("content", ["not json", "[]", '{"graphs": [1]}'])
def test_a_foreign_index_is_not_overwritten(texas, tmp_path, content):
    (tmp_path / "graph-metadata.json").write_text(content)
    with pytest.raises(InputError, match="list of graphs"):
        viz.write_graph_json(texas, tmp_path)
    assert (tmp_path / "graph-metadata.json").read_text() == content
    assert [path.name for path in tmp_path.iterdir()] == ["graph-metadata.json"]


def test_one_file_to_upload(texas, tmp_path):
    (path,) = viz.write_graph_json(texas, tmp_path / "dallas.json")
    assert json.loads(path.read_bytes()) == viz.graph_json(texas)
    again = tmp_path / "again.json"
    viz.write_graph_json(texas, again)
    assert again.read_bytes() == path.read_bytes()


def evidence(folder, texas, transcoder="pocket-clt"):
    """A record of one of the features, as `orrery features collect` writes it."""
    kept = texas.graph.features[texas.node_mask[: len(texas.graph.features)]]
    layer, _, idx = kept[0].tolist()
    examples = (Quantile("Top", (Example(("a", "b"), (0.0, 3.5), 1),)),)
    facts = {"act_min": 1.0, "act_max": 3.5, "histogram": (1, 2), "frequency": 0.1}
    record = FeatureEvidence(layer, idx, examples, ("Austin",), **facts)
    folder.mkdir()
    rows = {place: [record if (place, k) == (layer, idx) else None for k in range(4096)] for place in range(4)}
    write_index(folder, {place: write_layer(folder / f"layer_{place}.bin", row) for place, row in rows.items()})
    (folder / "evidence.json").write_text(json.dumps({"settings": {"transcoder": transcoder}}))
    return EvidenceFolder(folder), cantor_pair(layer, idx)


def test_features_have_what_is_known_of_them(texas, tmp_path):
    known, index = evidence(tmp_path / "evidence", texas)
    viz.write_graph_json(texas, tmp_path / "site", scan="pocket", features=known)
    value = json.loads((tmp_path / "site" / "features" / "pocket" / f"{index}.json").read_bytes())
    assert [one["quantile_name"] for one in value["examples_quantiles"]] == [
        "This prompt, positions in the graph",
        "Top",
    ]
    assert (value["activation_frequency"], value["histogram"], value["act_max"]) == (0.1, [1, 2], 3.5)
    assert all(report.violations == () for report in viz.validate(tmp_path / "site"))


def test_evidence_on_another_transcoder_is_refused(texas, tmp_path):
    known, _ = evidence(tmp_path / "evidence", texas, "another")
    with pytest.raises(InputError, match="features of pocket-clt, got a folder on another"):
        viz.write_graph_json(texas, tmp_path / "site", features=known)
    assert not (tmp_path / "site").exists()
    with pytest.raises(InputError, match="name a folder"):
        viz.write_graph_json(texas, tmp_path / "x.json", features=known)
