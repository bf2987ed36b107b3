import copy
import json
import math

import pytest

import viz
from viz.frontend_rules import encoded, validate_graph_json


@pytest.fixture(scope="module")
def good(texas):
    return viz.graph_json(texas)


def kind(value, feature_type):
    return next(node for node in value["nodes"] if node["feature_type"] == feature_type)


def feature(value):
    return kind(value, "cross layer transcoder")


def drop(key):
    return lambda value: value.pop(key)


def set_in(path, new):
    def change(value):
        *way, last = path
        for key in way:
            value = value[key]
        value[last] = new

    return change


def on(find, **changes):
    return lambda value: find(value).update(changes)


def without(find, key):
    return lambda value: find(value).pop(key)


def logit(value):
    return kind(value, "logit")


def token(value):
    return kind(value, "embedding")


BROKEN = {
    "no metadata": (drop("metadata"), "key 'metadata'"),
    "no qParams": (drop("qParams"), "key 'qParams'"),
    "no nodes": (drop("nodes"), "key 'nodes'"),
    "no links": (drop("links"), "key 'links'"),
    "nodes is no list": (set_in(["nodes"], {}), "nodes: expected list"),
    "no slug": (lambda v: v["metadata"].pop("slug"), "metadata.slug"),
    "slug with a space": (set_in(["metadata", "slug"], "a b"), "metadata.slug"),
    "slug with a slash": (set_in(["metadata", "slug"], "../x"), "metadata.slug"),
    "slug of dots": (set_in(["metadata", "slug"], ".."), "metadata.slug"),
    "slug with a line break": (set_in(["metadata", "slug"], "a\n"), "metadata.slug"),
    "scan with a slash": (set_in(["metadata", "scan"], "google/gemma"), "metadata.scan"),
    "empty scan": (set_in(["metadata", "scan"], ""), "metadata.scan"),
    "no prompt": (lambda v: v["metadata"].pop("prompt"), "metadata.prompt:"),
    "no tokens": (set_in(["metadata", "prompt_tokens"], []), "prompt_tokens"),
    "tokens are numbers": (set_in(["metadata", "prompt_tokens"], [1, 2]), "prompt_tokens"),
    "node_threshold null": (set_in(["metadata", "node_threshold"], None), "node_threshold"),
    "node_threshold text": (set_in(["metadata", "node_threshold"], "0.8"), "node_threshold"),
    "a node is no object": (lambda v: v["nodes"].append("x"), "expected objects"),
    "unknown feature_type": (on(feature, feature_type="transcoder"), "feature_type among"),
    "node without clerp": (without(feature, "clerp"), "keys clerp"),
    "node id is a number": (on(feature, node_id=3), "string as node_id"),
    "feature is a text": (on(feature, feature="12"), "integer or null as feature"),
    "feature is a boolean": (on(token, feature=True), "integer or null as feature"),
    "feature is not a Cantor pair": (on(feature, feature=7, layer="0"), "Cantor"),
    "embedding at layer 0": (on(token, layer="0"), "layer 'E'"),
    "feature at layer E": (on(feature, layer="E"), "layer 'E'"),
    "layer is a word": (on(feature, layer="top"), "as layer"),
    "logit without probability in its clerp": (on(logit, clerp='Output "Austin"'), "(p=0.123)"),
    "logit without token_prob": (without(logit, "token_prob"), "token_prob"),
    "token_prob above 1": (on(logit, token_prob=1.5), "token_prob between"),
    "influence above 1": (on(feature, influence=1.01), "influence between"),
    "influence is NaN": (on(feature, influence=math.nan), "influence between"),
    "activation is infinite": (on(feature, activation=math.inf), "activation"),
    "ctx_idx behind the prompt": (on(feature, ctx_idx=10), "ctx_idx inside"),
    "ctx_idx negative": (on(feature, ctx_idx=-1), "ctx_idx inside"),
    "ctx_idx is a float": (on(feature, ctx_idx=1.0), "ctx_idx inside"),
    "two nodes with one id": (lambda v: v["nodes"][1].update(node_id=v["nodes"][0]["node_id"]), "node_id of its own"),
    "two nodes with one jsNodeId": (
        lambda v: v["nodes"][1].update(jsNodeId=v["nodes"][0]["jsNodeId"]),
        "jsNodeId of its own",
    ),
    "logits not above the features": (lambda v: [n.update(layer="1") for n in v["nodes"][-3:]], "logits above"),
    "all layers 0": (lambda v: [n.update(layer="0") for n in v["nodes"] if n["layer"] != "E"], "layer above 0"),
    "link from nowhere": (lambda v: v["links"][0].update(source="nowhere"), "node as source"),
    "link to nowhere": (lambda v: v["links"][0].update(target="nowhere"), "node as target"),
    "link without weight": (lambda v: v["links"][0].pop("weight"), "links[0]: expected an object"),
    "weight is NaN": (lambda v: v["links"][0].update(weight=math.nan), "finite weight"),
    "weight is a text": (lambda v: v["links"][0].update(weight="1"), "finite weight"),
    "pinnedIds is a text": (set_in(["qParams", "pinnedIds"], "a"), "pinnedIds"),
    "supernode is empty": (set_in(["qParams", "supernodes"], [[]]), "supernodes"),
    "linkType is a number": (set_in(["qParams", "linkType"], 1), "linkType"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_breaks_a_rule_is_found(good, name):
    change, message = BROKEN[name]
    value = copy.deepcopy(good)
    change(value)
    assert any(message in rule for rule in validate_graph_json(value)), validate_graph_json(value)


def test_what_we_write_breaks_none(good):
    assert validate_graph_json(good) == []
    assert validate_graph_json(json.loads(encoded(good))) == []


def test_optional_things_may_be_missing(good):
    value = copy.deepcopy(good)
    value["qParams"] = {}
    del value["metadata"]["node_threshold"], value["metadata"]["schema_version"]
    for node in value["nodes"]:
        node.pop("influence", None)
        node["layer"] = node["layer"] if node["layer"] == "E" else int(node["layer"])
    assert validate_graph_json(value) == []


def test_raw_feature_ids_are_allowed_without_a_schema_version(good):
    value = copy.deepcopy(good)
    del value["metadata"]["schema_version"]
    feature(value)["feature"] = 7
    assert validate_graph_json(value) == []


def test_a_file_that_is_too_small(good):
    value = {key: copy.deepcopy(good[key]) for key in ("metadata", "qParams")} | {
        "nodes": good["nodes"][-1:],
        "links": [],
    }
    value["metadata"] = {key: value["metadata"][key] for key in ("slug", "scan", "prompt", "prompt_tokens")}
    assert any("1000 to 100000000 bytes" in rule for rule in validate_graph_json(value))


def test_a_file_that_is_too_large(good, monkeypatch):
    monkeypatch.setattr("viz.frontend_rules.MAX_BYTES", 2000)
    assert any("1000 to 2000 bytes" in rule for rule in validate_graph_json(good))


@pytest.mark.parametrize("value", [None, [], "x", 3])
def test_what_is_no_object_is_refused(value):
    assert len(validate_graph_json(value)) == 1


def test_encoding_survives_what_utf8_cannot_hold():
    assert json.loads(encoded({"a": "é\ud800"})) == {"a": "é\ud800"}
