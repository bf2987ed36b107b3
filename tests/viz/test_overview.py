import dataclasses
import io
import json

import pytest
from rich.console import Console

import viz
from circuits.paths import strongest_paths
from replacement_model.labels import FeatureLabel


def printed(circuit, width=100, **arguments):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(viz.summary(circuit, **arguments))
    return console.file.getvalue()


def test_one_screen_says_it_all(texas):
    text = printed(texas)
    for part in (
        "Fact: the capital of the state containing Dallas is",
        "Austin 0.930",
        "replacement 0.912 (circuit 1.000)",
        "completeness 0.976",
        "books close to 3.1e-07",
        "FVU per layer 0.020 0.030 0.040 0.050",
        "11 of 18 features",
        "L0 #3004",
        "city in Texas",
        "no label",
        "Dallas → city in Texas (L0) → Austin",
    ):
        assert part in text, part
    assert len(text.splitlines()) <= 30


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_line_is_wider_than_the_terminal(texas, width):
    assert max(len(line) for line in printed(texas, width).splitlines()) <= width


def test_features_are_grouped_by_position_and_the_strongest_come_first(texas):
    features = viz.summary_dict(texas)["features"]
    assert [row["pos"] for row in features] == sorted(row["pos"] for row in features)
    best = min(features, key=lambda row: row["rank"])
    assert best["label"] == "city in Texas"
    assert best["influence"] == max(row["influence"] for row in features)
    assert len(viz.summary_dict(texas, n_features=3)["features"]) == 3


def test_paths_are_those_of_the_circuit(texas):
    paths = viz.summary_dict(texas, n_paths=3)["paths"]
    expected = strongest_paths(texas, count=3)
    assert [path["share"] for path in paths] == [path.share for path in expected]
    assert [len(path["nodes"]) for path in paths] == [len(path.nodes) for path in expected]
    assert paths[0]["nodes"][-1]["label"] == " Austin"


def test_the_dictionary_is_json_without_nan(texas):
    graph = dataclasses.replace(texas.graph, fvu=(0.1, float("nan"), 0.3, 0.4))
    value = viz.summary_dict(dataclasses.replace(texas, graph=graph))
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    assert value["fvu"] == [0.1, None, 0.3, 0.4]
    assert value["counts"]["edges"] == texas.edges.nnz


def test_text_in_square_brackets_is_not_markup(texas):
    labels = (FeatureLabel("[bold]x[/bold] [/nope]"),) * len(texas.graph.feature_labels)
    metadata = dataclasses.replace(texas.graph.metadata, prompt="[red]a\x1b[31m")
    graph = dataclasses.replace(texas.graph, feature_labels=labels, metadata=metadata)
    text = printed(dataclasses.replace(texas, graph=graph))
    assert "[bold]x[/bold] [/nope]" in text
    assert "[red]a\\x1b[31m" in text
    assert "\x1b" not in text


def test_other_targets(other_targets):
    text = printed(other_targets)
    assert "Austin − Houston (difference)" in text
    assert "truth (direction)" in text


def test_a_graph_is_summed_up_whole(texas_graph):
    assert viz.summary_dict(texas_graph)["thresholds"] == {"node": 1.0, "edge": 1.0}
