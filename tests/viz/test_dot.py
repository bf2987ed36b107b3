import dataclasses
import re
import shutil
import xml.etree.ElementTree as ET

import pytest

import viz
from circuits.graph import Target
from circuits.pruning import prune
from replacement_model.errors import InputError
from viz.dot import NEGATIVE, POSITIVE

needs_graphviz = pytest.mark.skipif(shutil.which("neato") is None, reason="runs where Graphviz is installed")
SVG = "{http://www.w3.org/2000/svg}"
NASTY = ("<bos>", "a\\N b\\l", 'say "hi"', "<b>bold</b>", "&amp;", "line\nbreak", "\x00\x1b", "naïve 日本", "]]>", "is")


@pytest.fixture(scope="module")
def nasty(make_graph):
    features = [(0, k, f"{token} {{x|y}} \\G") for k, token in enumerate(NASTY) if k]
    return prune(make_graph(features, NASTY, n_layers=2), 1.0, 1.0)


def texts(svg: bytes) -> str:
    # A label that is broken into lines is several text elements; spaces in SVG are written as no-break spaces.
    return " ".join(text.text or "" for text in ET.fromstring(svg).iter(f"{SVG}text")).replace("\xa0", " ")


def edges(source: str) -> list[str]:
    return re.findall(r"^\tn\d+ -> n\d+ .*$", source, re.M)


def test_edges_show_their_sign_by_colour_and_by_line_style(texas):
    drawn = edges(viz.graphviz(texas, max_edges=1000).source)
    assert len(drawn) == texas.edges.nnz
    positive = [edge for edge in drawn if POSITIVE in edge]
    negative = [edge for edge in drawn if NEGATIVE in edge]
    assert len(positive) == (texas.edges.data > 0).sum()
    assert len(negative) == (texas.edges.data < 0).sum() > 0
    assert all("style=solid" in edge for edge in positive)
    assert all("style=dashed" in edge for edge in negative)


def test_stronger_edges_are_wider_and_more_opaque(texas):
    drawn = edges(viz.graphviz(texas).source)
    widths = [float(re.search(r"penwidth=([\d.]+)", edge)[1]) for edge in drawn]
    opacity = [int(re.search(r'color="#\w{6}(\w\w)"', edge)[1], 16) for edge in drawn]
    assert widths == sorted(widths)
    assert opacity == sorted(opacity)
    assert widths[-1] > 3 * widths[0]


def test_equal_circuits_give_equal_bytes(texas_graph):
    assert viz.graphviz(prune(texas_graph)).source == viz.graphviz(prune(texas_graph)).source


@needs_graphviz
@pytest.mark.parametrize("name", ["svg", "png"])
def test_equal_pictures_give_equal_bytes(texas, name):
    assert viz.graphviz(texas).pipe(name) == viz.graphviz(texas).pipe(name)


@needs_graphviz
def test_the_picture_says_what_it_shows(texas):
    shown = texts(viz.graphviz(texas).pipe("svg"))
    for text in (
        "Fact: the capital of the state containing Dallas is → Austin (p = 0.93)",
        *("logits", "layer 0", "tokens", "<bos>", "containing", "raises", "lowers"),
        *("city in Texas", "#3004", "L3 #2313", "p = 0.93"),
        *("Thresholds: nodes 0.8, edges 0.98", "Replacement score 0.91", "completeness 0.98", "3.1e-07", "FVU 0.035"),
        "Model pocket, transcoder pocket-clt",
    ):
        assert text in shown, text


@needs_graphviz
def test_what_is_left_out_is_said_in_the_picture(make_random):
    circuit = prune(make_random(150), 1.0, 1.0)
    shown = texts(viz.graphviz(circuit, max_nodes=10, max_edges=15).pipe("svg"))
    n_inner = int(circuit.node_mask[: circuit.graph.layout.token_nodes.start].sum())
    assert re.search(rf"Drawn: 10 of {n_inner} features and errors, \d+% of their influence", shown)
    assert re.search(rf"\d+ of {circuit.edges.nnz} edges, \d+% of\s+theirs", shown)


@needs_graphviz
def test_a_whole_circuit_is_called_whole(texas):
    shown = texts(viz.graphviz(texas, max_edges=1000).pipe("svg"))
    assert "Drawn: all 11 features and errors of the circuit; all edges." in shown


@needs_graphviz
def test_special_characters_come_out_as_text(nasty):
    shown = texts(viz.graphviz(nasty, max_nodes=100).pipe("svg"))
    for text in (
        "<bos>",
        "a\\N b\\l",
        'say "hi"',
        "<b>bold</b>",
        "&amp;",
        "line↵break",
        "\\x00\\x1b",
        "naïve 日本",
        "]]>",
    ):
        assert text in shown, text
    assert "{x|y}" in shown
    assert "\\G" in shown


@needs_graphviz
def test_tooltips_hold_the_whole_text(nasty):
    svg = ET.fromstring(viz.graphviz(nasty, max_nodes=100, max_edges=1000).pipe("svg"))
    titles = [a.get("{http://www.w3.org/1999/xlink}title") for a in svg.iter(f"{SVG}a")]
    assert any(title.startswith("&amp; {x|y} \\G · feature ") and "F1 0.90" in title for title in titles)
    assert any("a\\N b\\l {x|y} \\G → Austin: " in title and "of the influence" in title for title in titles)


@needs_graphviz
def test_small_print_keeps_any_name(texas):
    metadata = dataclasses.replace(texas.graph.metadata, model_name="C:\\new\\model & <co> &lt;")
    circuit = dataclasses.replace(texas, graph=dataclasses.replace(texas.graph, metadata=metadata))
    assert "Model C:\\new\\model & <co> &lt;" in texts(viz.graphviz(circuit).pipe("svg"))


@needs_graphviz
def test_other_targets_are_drawn_over_their_positions(other_targets):
    shown = texts(viz.graphviz(other_targets).pipe("svg"))
    for text in ("Austin − Houston", "difference", "truth", "direction", "feature", "targets"):
        assert text in shown


def test_a_whole_graph_can_be_drawn(texas_graph):
    assert "Thresholds: nodes 1, edges 1" in viz.graphviz(texas_graph).source


def test_the_end_of_a_long_prompt_is_its_title(make_random):
    circuit = prune(make_random(20, tokens=[f"tok{i}" for i in range(400)]), 0.9)
    source = viz.graphviz(circuit).source
    assert "… tok" in source
    assert "tok399 → Austin (p = 0.93)" in source
    assert "tok42 " not in source


def test_a_title_of_ones_own(texas):
    assert "My &lt;figure&gt; 1" in viz.graphviz(texas, title="My <figure> 1").source


def test_a_graph_of_tokens_alone(make_graph):
    graph = make_graph([], ("<bos>", "is"), [Target("logit", " x", 1, 1.0, 2, (1,))], n_layers=2)
    source = viz.graphviz(prune(graph, 0.0, 1.0)).source
    assert edges(source)


@pytest.mark.parametrize("arguments", [{"max_nodes": 0}, {"max_edges": 0}, {"max_nodes": -3}])
def test_nothing_to_draw_is_refused(texas, arguments):
    with pytest.raises(InputError, match="at least 1"):
        viz.graphviz(texas, **arguments)
