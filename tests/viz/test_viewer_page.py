"""One file: the policy is the template's, the data cannot break out of its element, the size is bounded."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

import viz
from circuits import Group, Grouping, group, prune
from replacement_model.errors import InputError
from replacement_model.evidence.folder import write_index, write_layer
from replacement_model.evidence.record import Example, FeatureEvidence, Quantile
from replacement_model.labels import FeatureLabel, FeatureLabels, save_labels
from viz.viewer.annotations import Annotations
from viz.viewer.coverage import Budget
from viz.viewer.evidence import FeatureTexts
from viz.viewer.page import MAX_FILE_BYTES, filled, page_policy, page_template

NASTY = "</script><script>alert(1)</script><!-- <script> \u2028\u2029 & \ud800 ]]> '\""


class Elements(HTMLParser):
    """Script and style elements as a parser finds them, and everything that names an address."""

    def __init__(self, text):
        super().__init__()
        self.found, self.addresses, self.handlers = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tag = tag
        if tag in ("script", "style"):
            self.found.append([tag, dict(attrs), ""])
        self.addresses += [value for name, value in attrs if name in ("src", "href", "action", "data")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_endtag(self, tag):
        self.tag = None

    def handle_data(self, data):
        if self.found and self.tag in ("script", "style"):
            self.found[-1][2] += data


def data_of(text):
    return json.loads(next(body for _, attrs, body in Elements(text).found if attrs.get("id") == "orrery-data"))


def policy_of(text):
    return re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]


def test_the_page_holds_the_graph_and_nothing_from_elsewhere(texas):
    text = viz.page(texas)
    assert data_of(text)["prompt"] == texas.graph.metadata.prompt
    found = Elements(text)
    assert all(address.startswith("data:") for address in found.addresses)
    assert found.handlers == []
    assert len(text.encode()) < MAX_FILE_BYTES


def test_the_policy_allows_this_script_and_style_alone(texas):
    text = viz.page(texas)
    policy = dict(part.split(" ", 1) for part in policy_of(text).split("; "))
    for tag in ("script", "style"):
        bodies = [body for name, attrs, body in Elements(text).found if name == tag and "id" not in attrs]
        hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()}'" for body in bodies}
        assert set(policy[f"{tag}-src"].split()) == hashes
    assert (policy["default-src"], policy["connect-src"], policy["base-uri"]) == ("'none'", "'none'", "'none'")
    assert "connect-src 'self'" in policy_of(filled({"served": True}, connects=True)) == page_policy()


def test_texts_cannot_leave_the_data(make_graph):
    graph = make_graph([(0, 1, NASTY), (1, 2, "x")], tokens=("<bos>", NASTY, "is"), n_layers=2)
    plain, text = page_template(), viz.page(graph, titles=[NASTY], annotations=[Annotations(labels={"0/1": NASTY})])
    value = data_of(text)
    assert (value["title"], value["tokens"][1], value["annotations"]["labels"]["0/1"]) == (NASTY, NASTY, NASTY)
    assert [part[:2] for part in Elements(text).found] == [part[:2] for part in Elements(plain).found]
    assert text.encode("utf-8").decode("utf-8") == text


def test_several_graphs_in_one_page(texas, make_random):
    value = data_of(viz.page(texas, make_random(5), slugs=["a", "b"], titles=["A", "B"]))
    assert [(one["slug"], one["title"]) for one in value["graphs"]] == [("a", "A"), ("b", "B")]
    with pytest.raises(InputError, match="titles for 2 graphs, got 1"):
        viz.page(texas, texas, titles=["A"])


def test_supernodes_and_annotations_are_in_the_page(texas):
    grouped = group(texas, Grouping((Group("one", (int(np.flatnonzero(texas.node_mask)[0]),)),)))
    assert data_of(viz.page(grouped))["annotations"]["supernodes"][0][0] == "one"
    given = Annotations((("mine", "1_2_3"),), revision=4)
    assert data_of(viz.page(grouped, annotations=[given]))["annotations"] == given.to_dict()


@pytest.fixture
def evidence(tmp_path, texas_graph):
    """On every feature of layer 0 of the graph, with a label for the first."""
    places = {idx for layer, _, idx in texas_graph.features.tolist() if layer == 0}
    example = Example(tuple(f"t{k}" for k in range(100)), tuple(float(k == 70) for k in range(100)), 70)
    records = [
        FeatureEvidence(0, idx, (Quantile("Top", (example,) * 8),), ("up",), ("down",), frequency=0.1, histogram=(1, 2))
        if idx in places
        else None
        for idx in range(4096)
    ]
    write_index(tmp_path, {0: write_layer(tmp_path / "layer_0.bin", records)})
    save_labels(FeatureLabels({(0, min(places)): FeatureLabel("by hand", f1=0.5)}), tmp_path / "labels.json")
    return FeatureTexts(tmp_path)


def test_evidence_is_in_the_page(texas_graph, evidence):
    value = data_of(viz.page(texas_graph, features=evidence))
    ids = sorted(idx for layer, _, idx in texas_graph.features.tolist() if layer == 0)
    facts = value["features"][f"0/{ids[0]}"]
    assert (facts["label"], facts["label_source"], facts["label_score"]) == ("by hand", "evidence", 0.5)
    assert (len(facts["examples"]), facts["top_logits"], facts["histogram"]) == (5, ["up"], [1, 2])
    window = facts["examples"][0]
    assert (window["tokens"][window["train_token_ind"]], len(window["tokens"])) == ("t70", 62)
    assert window["acts"][window["train_token_ind"]] == 1.0
    assert value["features"][f"0/{ids[1]}"]["label_source"] == "graph"


def test_evidence_stops_where_it_does_not_fit(texas_graph, evidence):
    keys = [f"0/{idx}" for layer, _, idx in texas_graph.features.tolist() if layer == 0]
    size = len(json.dumps(evidence.facts(0, int(keys[0][2:]))))
    assert len(evidence.of(keys, max_bytes=3 * size)) in range(2, len(set(keys)))
    assert evidence.of(["0/999999", "7/1", keys[0]], max_bytes=10**6).keys() == {keys[0]}


class MuchEvidence(FeatureTexts):
    """Long texts on every feature, in the place of a folder."""

    def __init__(self):
        self.labels = FeatureLabels()

    def facts(self, layer, feature_idx, n_examples=5):
        return {"label": "標籤 <&> " * 90, "top_logits": ["日本"] * 60}


@pytest.mark.parametrize("features", [None, MuchEvidence()], ids=["alone", "with evidence"])
def test_large_graphs_fill_five_megabytes_and_no_more(make_random, features):
    circuit = prune(make_random(1200, n_layers=12))
    value = viz.page(circuit, features=features)
    assert 4_400_000 < len(value.encode()) < MAX_FILE_BYTES
    facts = data_of(value)["features"].values()
    assert any("標" in one["label"] for one in facts) == (features is not None)


def test_labels_count(make_graph):
    """Long labels leave less room for nodes."""
    labels = ["長" * 2500 + str(k) for k in range(900)]
    graph = make_graph([(k % 4, 1 + k % 9, label) for k, label in enumerate(labels)])
    text = viz.page(graph)
    assert 3_000_000 < len(text.encode()) < MAX_FILE_BYTES
    assert 0 < data_of(text)["left_out"]["nodes"] < 900


def test_a_budget_is_kept(make_random):
    small = viz.page(make_random(300), budget=Budget(max_bytes=200_000))
    assert len(small.encode()) < len(page_template().encode()) + 300_000
