"""Annotations beside a graph: kept whole, read by `--supernodes`, merged, and never lost."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import viz
from circuits import load_grouping, save_graph
from circuits.node_names import node_names
from replacement_model.errors import GraphFileError, InputError
from viz.viewer.annotations import (
    Annotations,
    annotated,
    annotations_path,
    exchange,
    load_annotations,
    parse_annotations,
    save_annotations,
)
from viz.viewer.merging import merge_annotations

CASES = json.loads((Path(__file__).parent / "merge_cases.json").read_text())
FULL = Annotations(
    supernodes=(("Texas <b>", "1_5_8", "2_6_9"),),
    pinned=("1_5_8", "gone_1_2"),
    positions={"1_5_8": (10.0, -2.5)},
    labels={"1/5": "in Texas \ud800 \u2028"},
    node_threshold=0.75,
    others={"note": ["theirs"]},
)


def read(value):
    return parse_annotations({"schema_version": 1, **value})


def test_they_lie_beside_the_graph():
    assert annotations_path("out/dallas.safetensors") == Path("out/dallas.annotations.json")
    assert annotations_path("out/a.b.safetensors") == Path("out/a.b.annotations.json")


def test_what_is_saved_is_loaded(tmp_path):
    graph = tmp_path / "dallas.safetensors"
    assert load_annotations(graph) == Annotations()
    saved = save_annotations(FULL, graph)
    assert saved == replace(FULL, revision=1) == load_annotations(graph) == load_annotations(annotations_path(graph))
    assert save_annotations(replace(saved, pinned=()), graph).revision == 2
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["dallas.annotations.json"]


def test_a_stale_revision_is_not_written(tmp_path):
    first = save_annotations(FULL, tmp_path / "a.annotations.json")
    save_annotations(replace(first, pinned=("x",)), tmp_path / "a.annotations.json")
    with pytest.raises(InputError, match="at revision 2, these annotations are from 1"):
        save_annotations(first, tmp_path / "a.annotations.json")
    assert load_annotations(tmp_path / "a.annotations.json").pinned == ("x",)


def test_many_writers_lose_nothing(tmp_path):
    """Each pins one node, merging when somebody was faster."""
    path = tmp_path / "a.annotations.json"

    def pin(name):
        base = load_annotations(path)
        mine = replace(base, pinned=(*base.pinned, name))
        is_saved, current = exchange(mine, path)
        while not is_saved:
            base, mine = current, merge_annotations(base, mine, current)
            is_saved, current = exchange(mine, path)

    threads = [threading.Thread(target=pin, args=(f"n{k}",)) for k in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = load_annotations(path)
    assert (sorted(found.pinned), found.revision) == (sorted(f"n{k}" for k in range(12)), 12)


def test_supernodes_are_read_as_supernodes_json(tmp_path, texas_graph):
    first, second, *_ = node_names(texas_graph)
    save_annotations(Annotations(supernodes=(("both", first, second),)), tmp_path / "a.annotations.json")
    grouping = load_grouping(tmp_path / "a.annotations.json", texas_graph)
    assert [(one.label, one.nodes) for one in grouping] == [("both", (0, 1))]


def test_ids_of_another_graph_are_set_aside_not_lost(tmp_path, texas_graph):
    first = node_names(texas_graph)[0]
    path = tmp_path / "texas.safetensors"
    save_graph(texas_graph, path)
    found = save_annotations(Annotations((("mixed", "9_9_9", first), ("gone", "8_8_8")), ("7_7_7", first)), path)
    assert found.unknown(texas_graph) == ("9_9_9", "8_8_8", "7_7_7")
    assert [(one.label, one.nodes) for one in found.grouping(texas_graph)] == [("mixed", (0,))]
    assert load_annotations(path).supernodes == found.supernodes


def test_labels_replace_those_of_the_graph(texas_graph):
    layer, _, idx = texas_graph.features[0].tolist()
    graph = Annotations(labels={f"{layer}/{idx}": "mine", "77/1": "of no feature"}).labelled(texas_graph)
    assert (graph.feature_labels[0].text, graph.feature_labels[0].f1) == ("mine", None)
    assert graph.feature_labels[0].top_logits == texas_graph.feature_labels[0].top_logits
    assert graph.feature_labels[1:] == texas_graph.feature_labels[1:]


def test_exports_get_labels_supernodes_and_pins(texas):
    names, nodes = node_names(texas.graph), np.flatnonzero(texas.node_mask[: texas.graph.layout.n_features])
    dropped = names[int(np.flatnonzero(~texas.node_mask)[0])]
    first, second, third = (names[int(node)] for node in nodes[:3])
    layer, _, idx = texas.graph.features[nodes[0]].tolist()
    given = Annotations(
        (("both", first, second, dropped),), (third, dropped, "9_9_9"), labels={f"{layer}/{idx}": "mine"}
    )
    value = viz.graph_json(annotated(texas, given), pinned=given.pinned)
    assert value["qParams"]["supernodes"] == [["both", first, second]]
    assert value["qParams"]["pinnedIds"] == [third, first, second]
    assert next(node["clerp"] for node in value["nodes"] if node["node_id"] == first) == "mine"
    assert annotated(texas, Annotations()) == texas


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([], "annotations: expected an object"),
        ({"schema_version": 2}, "schema_version 1, got 2"),
        ({"schema_version": 1, "supernodes": [["alone"]]}, "a name and at least one node"),
        ({"schema_version": 1, "supernodes": [["a", 3]]}, "supernodes: expected text, got 3"),
        ({"schema_version": 1, "supernodes": [["a", "x"], ["b", "x"]]}, "node 'x' is in 'a' and in 'b'"),
        ({"schema_version": 1, "pinned": "x"}, "pinned: expected a list"),
        ({"schema_version": 1, "positions": {"x": [1]}}, "expected x and y, got 1"),
        ({"schema_version": 1, "positions": {"x": [1, 1e999]}}, "finite"),
        ({"schema_version": 1, "positions": {"x": [1, 10**400]}}, "finite"),
        ({"schema_version": 1, "labels": {"1/2": None}}, "expected text, got None"),
        ({"schema_version": 1, "node_threshold": 2}, "share between 0 and 1"),
        ({"schema_version": 1, "node_threshold": True}, "finite number, got True"),
        ({"schema_version": 1, "revision": -1}, "whole number"),
    ],
)
def test_what_is_refused(value, says):
    with pytest.raises(InputError, match=says):
        parse_annotations(value)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 5_000, '{"schema_version": 2}', b"\xff"])
def test_a_damaged_file_is_said_to_be_one_and_stays(tmp_path, text):
    path = tmp_path / "a.annotations.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    before = path.read_bytes()
    for act in (lambda: load_annotations(path), lambda: save_annotations(Annotations(), path)):
        with pytest.raises(GraphFileError, match="holds no annotations"):
            act()
    assert path.read_bytes() == before


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_merging(case):
    merged = merge_annotations(read(case["base"]), read(case["mine"]), replace(read(case["theirs"]), revision=7))
    assert merged == replace(read(case["merged"]), revision=7)


RAW = st.tuples(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 2)),
    st.lists(st.sampled_from("abcd"), unique=True),
    st.dictionaries(st.sampled_from("xyz"), st.sampled_from("12")),
)


def made(raw):
    groups, pins, labels = raw
    rows = tuple((f"g{k}", *(node for node in groups if groups[node] == k)) for k in sorted(set(groups.values())))
    return Annotations(rows, tuple(pins), labels=labels)


def grouped(annotations):
    return [node for row in annotations.supernodes for node in row[1:]]


@settings(max_examples=60, deadline=None)
@given(RAW, RAW, RAW)
def test_merging_keeps_what_one_side_alone_changed(first, second, third):
    base, mine, theirs = made(first), made(second), made(third)
    assert merge_annotations(base, base, theirs) == theirs
    same = merge_annotations(base, mine, base)
    assert {frozenset(row) for row in same.supernodes} == {frozenset(row) for row in mine.supernodes}
    assert (set(same.pinned), same.labels) == (set(mine.pinned), mine.labels)
    both = merge_annotations(base, mine, theirs)
    assert len(grouped(both)) == len(set(grouped(both)))
    was, now, there = (set(grouped(one)) for one in (base, mine, theirs))
    assert (now - was) | (there - was) | (now & there) <= set(grouped(both))
    assert set(mine.pinned) - set(base.pinned) <= set(both.pinned)
