"""Graph JSON written, read and written again; and what is said of what a file does not hold."""

import copy
import io
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_graphs import as_attribute, as_circuit_tracer
from rich.console import Console

import viz
from circuits import (
    Circuit,
    attribute,
    find_groups,
    group,
    load_grouping,
    prune,
    read_graph_json,
)
from replacement_model import ReplacementModel
from replacement_model.errors import OrreryError
from viz.exchange.validation import validate_graph_json
from viz.unknown import known, origin_note, shown
from viz.viewer.payload import payload

NOT_THE_SAME = ("description", "read_from")  # of metadata.info: they say that the file is a copy of a file


@pytest.fixture(scope="module")
def read(tmp_path_factory) -> Callable[[Any], Circuit]:
    path = tmp_path_factory.mktemp("read") / "graph.json"

    def read(value: Any) -> Circuit:
        path.write_text(json.dumps(value))
        return read_graph_json(path)

    return read


def without(value: dict[str, Any]) -> dict[str, Any]:
    info = {key: fact for key, fact in value["metadata"]["info"].items() if key not in NOT_THE_SAME}
    return value | {"metadata": value["metadata"] | {"info": info}}


@pytest.fixture(scope="module", params=["pocket clt", "pocket plt", "gemma3_clt_relu"])
def traced(request, golden_dir: Path) -> Circuit:
    """Circuits of real traces: the pocket model's, and those of models in golden/."""
    if request.param.startswith("pocket"):
        model = ReplacementModel.from_pretrained("pocket", request.param.removeprefix("pocket "))
        return prune(attribute(model, "the capital of the state containing Dallas is"))
    folder = golden_dir / request.param
    model = ReplacementModel.from_pretrained(folder / "model", folder / "transcoder")
    with np.load(folder / "reference.npz") as archive:
        return prune(attribute(model, archive["tokens"].tolist()), 0.4, 0.8)


def test_a_trace_obeys_every_rule_and_survives_the_way_there_and_back(read, traced) -> None:
    first = viz.graph_json(traced)
    assert validate_graph_json(first) == []
    found = read(first)
    second = viz.graph_json(found)
    assert validate_graph_json(second) == []
    assert without(second) == without(first)
    assert viz.graph_json(read(second)) == second  # a copy of a copy is the copy
    assert found.graph.read_from["producer"] == "Orrery"


def test_other_targets_survive(read, other_targets) -> None:
    first = viz.graph_json(other_targets, slug="others")
    assert without(viz.graph_json(read(first), slug="others")) == without(first)


def test_supernodes_survive(texas, tmp_path: Path) -> None:
    grouped = group(texas, find_groups(texas, n_groups=3).grouping)
    (path,) = viz.write_graph_json(grouped, tmp_path / "grouped.json")
    found = read_graph_json(path)
    again = group(found, load_grouping(path, found.graph))
    assert without(viz.graph_json(again)) == without(json.loads(path.read_bytes()))


@pytest.mark.parametrize("write", [as_circuit_tracer, as_attribute])
def test_other_programs_files_become_files_that_obey_every_rule(read, texas_graph, write) -> None:
    value = write(prune(texas_graph, 0.9))
    assert validate_graph_json(value) != []
    found = read(value)
    again = viz.graph_json(found)
    assert validate_graph_json(again) == []
    assert len(again["nodes"]) == len(value["nodes"])
    assert sorted(link["weight"] for link in again["links"]) == sorted(link["weight"] for link in value["links"])
    assert again["metadata"]["info"]["books_residual"] is None
    acts = {node["activation"] for node in again["nodes"] if node["feature_type"] == "cross layer transcoder"}
    assert (acts == {None}) == (write is as_attribute)
    assert "edge_threshold" not in again["metadata"]["pruning_settings"]


def test_what_is_shown_says_where_it_comes_from(read, texas_graph) -> None:
    found = read(as_attribute(prune(texas_graph, 0.9)))
    facts = viz.summary_dict(found)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert facts["read_from"]["producer"] == "attribute"
    assert (facts["books_residual"], facts["scores"]["replacement"]) == (None, None)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(viz.summary(found))
    text = console.export_text()
    assert "books not in the file" in text
    assert "replacement – (circuit" in text
    assert (
        "influence and scores are computed from the edges in it. Not in the file: edges that were pruned, books" in text
    )
    source = viz.graphviz(found).source
    assert "Read from a graph file of attribute" in source.replace("\\n", " ") or "Read from" in source
    assert "nan" not in source


def test_a_served_folder_of_such_a_file_has_no_made_up_activations(read, texas_graph, tmp_path: Path) -> None:
    written = viz.write_graph_json(read(as_attribute(prune(texas_graph, 0.9))), tmp_path)
    (feature, *_) = [json.loads(path.read_bytes()) for path in written[4:]]
    assert (feature["examples_quantiles"], "act_max" in feature) == ([], False)
    assert all(report.violations == () for report in viz.validate(tmp_path))


def test_unknown_numbers() -> None:
    assert (known(float("nan")), known(0.5)) == (None, 0.5)
    assert (shown(float("nan"), ".1f"), shown(None, ".1f"), shown(0.5, ".1f")) == ("–", "–", "0.5")


def test_only_files_have_an_origin(texas, read) -> None:
    assert origin_note(texas.graph) is None
    value = viz.graph_json(texas)
    del value["metadata"]["info"]
    assert "a program that it does not name" in origin_note(read(value).graph)


def test_the_page_starts_with_all_that_is_in_such_a_file(read, texas_graph) -> None:
    found = read(as_attribute(prune(texas_graph, 0.9)))
    value = payload(found)
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    assert (value["thresholds"]["node"], value["thresholds"]["edge"]) == (1.0, 1.0)
    assert (value["books"]["residual"], value["scores"]["replacement_score"]) == (None, None)
    assert {node["activation"] for node in value["nodes"]} == {None}
    assert value["settings"]["origin"] == origin_note(found.graph)


JUNK = (
    None,
    True,
    -1,
    2**63,
    10**400,
    math.nan,
    math.inf,
    "",
    "E",
    "x" * 99,
    "٣",
    "\ud800",
    [],
    {},
    [None],
    [[]],
    {"a": 1},
)


def places(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if here:
        yield here
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*here, key))


@pytest.mark.slow
def test_whatever_is_in_a_file_it_is_read_or_refused(read, texas_graph) -> None:
    # Random values put anywhere, half of them outside the many links: no exception but those raised on purpose.
    base = as_circuit_tracer(prune(texas_graph, 0.2, 0.5))
    everywhere = list(places(base))
    elsewhere = [place for place in everywhere if place[0] != "links"]
    rng, outcomes = random.Random(0), Counter()
    for _ in range(300):
        value = copy.deepcopy(base)
        *way, last = rng.choice(rng.choice((everywhere, elsewhere)))
        inner = value
        for key in way:
            inner = inner[key]
        inner[last] = rng.choice(JUNK)
        assert isinstance(validate_graph_json(value, 5_000), list)
        try:
            read(value)
        except OrreryError as error:
            outcomes[type(error).__name__] += 1
        else:
            outcomes["read"] += 1
    assert outcomes["read"] > 10
    assert outcomes["GraphFileError"] > 10
