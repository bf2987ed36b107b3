import numpy as np
import pytest

from circuits.pruning import prune
from viz.figures.attribution_table import attribution_table
from viz.figures.heat_map import heat_map, shown_positions
from viz.figures.style import COLUMN, TEXT, figure_bytes


def test_every_node_is_counted_at_its_place(texas):
    table, graph = attribution_table(texas), texas.graph
    again = np.zeros((graph.n_layers + 1, 3, len(graph.tokens)))
    for node in range(graph.layout.token_nodes.stop):
        at = graph.node_attributes(node)
        kind = ("feature", "error", "token").index(at["kind"])
        again[at["layer"], kind, at["pos"]] += texas.node_influence[node] / sum(t.weight for t in graph.targets)
    np.testing.assert_allclose(table.features, again[:-1, 0])
    np.testing.assert_allclose(table.errors, again[:-1, 1])
    np.testing.assert_allclose(table.tokens, again[-1, 2])


def test_all_paths_begin_at_a_token_or_an_error(texas):
    table = attribution_table(texas)
    assert table.tokens.sum() + table.errors.sum() == pytest.approx(1.0)
    assert table.by_position.sum() == pytest.approx(1.0)


@pytest.mark.parametrize(("width", "font"), [(COLUMN, "sans"), (TEXT, "serif")])
def test_text_stays_inside_and_apart(texas, faults, width: float, font: str):
    assert faults(heat_map(texas, width=width, font=font)) == []


def test_of_a_long_prompt_the_columns_with_most_influence_are_drawn(make_random, faults):
    circuit = prune(make_random(60, n_layers=40, tokens=[f"token{i}" for i in range(120)]))
    shown = shown_positions(circuit, COLUMN)
    influence = attribution_table(circuit).by_position
    assert len(shown) < 30
    assert influence[shown].min() >= np.delete(influence, shown).max()
    figure = heat_map(circuit)
    assert faults(figure) == []
    assert len(figure.axes[0].get_xticks()) == len(shown)
    assert figure.get_figheight() < 6


def test_tokens_of_any_characters_are_text(make_graph):
    features = [(0, 1, "a"), (0, 2, "b")]
    circuit = prune(make_graph(features, ("<bos>", "$x$ & <b>", "日本", "a\nb"), n_layers=2), 1.0, 1.0)
    svg = figure_bytes(heat_map(circuit), "svg").decode()
    for text in ("$x$ &amp; &lt;b&gt;", "a↵b"):
        assert text in svg
    assert "日本" in svg or "U+65E5U+672C" in svg
