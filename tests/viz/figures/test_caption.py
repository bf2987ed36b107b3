import pytest

from circuits import Circuit, Group, Grouping, group
from viz.figures.caption import curve_caption, graph_caption, heat_map_caption
from viz.figures.graph_figure import GraphFigure, graph_figure, pinned_figure
from viz.figures.style import COLUMN


@pytest.fixture(scope="module")
def figure(texas: Circuit) -> GraphFigure:
    return graph_figure(texas)


def test_a_caption_says_every_setting(figure: GraphFigure, texas: Circuit):
    text = graph_caption(figure).plain()
    for part in (
        "“Fact: the capital of the state containing Dallas is” → Austin (p = 0.93)",
        "tokens: <bos> | Fact: | the",
        "model: pocket",
        "transcoder: pocket-clt",
        "thresholds: nodes 0.8, edges 0.98",
        f"replacement score: {texas.replacement_score:.4f} (circuit {texas.circuit_replacement_score:.4f})",
        "residual 3.1e-07",
        "trace: max_feature_nodes 2000",
        "figure: graph, 3.25 in wide, sans, smallest type ",
        "made by: Orrery",
        "features and errors that were kept",
    ):
        assert part in text, part
    drawn = [line for line in text.split("Nodes\n")[1].splitlines() if line]
    assert len(drawn) == len(figure.part.nodes)


def test_for_latex_the_settings_are_comments(figure: GraphFigure):
    first, *rest = graph_caption(figure).latex().splitlines()
    assert first.startswith(r"\caption{Attribution graph of ``Fact: the capital")
    assert first.endswith("}")
    assert r"\% of their influence" in first
    assert all(line.startswith("%") for line in rest)


def test_supernodes_and_pins_are_named(texas: Circuit):
    members = tuple(node for node in range(texas.graph.layout.n_features) if texas.node_mask[node])[:2]
    caption = graph_caption(graph_figure(group(texas, Grouping((Group("two", members),)))), "supernodes")
    assert "heavy border are supernodes" in caption.text
    assert any(line.startswith("two · supernode of L") for line in caption.nodes)
    pinned = graph_caption(pinned_figure(texas, members), "pinned")
    assert "Drawn are 2 features and errors chosen by hand" in pinned.text


def test_captions_of_plots(texas: Circuit):
    assert "node threshold of 0.8" in curve_caption(texas).text
    assert f"replacement {texas.replacement_score:.2f}" in curve_caption(texas).text
    assert "together they are 100%" in heat_map_caption(texas, COLUMN).text
    assert "Drawn are" not in heat_map_caption(texas, COLUMN).text


@pytest.mark.parametrize("width", [1.6])
def test_a_heat_map_with_gaps_says_so(texas: Circuit, width: float):
    assert "of 10 tokens, with" in heat_map_caption(texas, width).text
