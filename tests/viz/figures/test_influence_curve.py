import numpy as np
import pytest

from circuits.pruning import prune
from viz.figures.influence_curve import circuit_sizes, influence_curve
from viz.figures.style import COLUMN, TEXT


def test_influence_is_that_of_tokens_and_the_first_nodes(texas):
    sizes, layout = circuit_sizes(texas), texas.graph.layout
    influence = texas.node_influence
    order = sorted(range(layout.token_nodes.start), key=lambda node: -influence[node])
    for n in (0, 1, 5):
        held = influence[layout.token_nodes].sum() + sum(influence[node] for node in order[:n])
        assert sizes.influence[n] == pytest.approx(held / influence.sum())
    assert sizes.influence[-1] == pytest.approx(1.0)


def test_each_point_is_a_pruned_circuit(texas):
    sizes = circuit_sizes(texas)
    start = texas.graph.layout.token_nodes.start
    by_count = {}
    for share in np.linspace(0, 1, 400):
        circuit = prune(texas.graph, float(share), texas.edge_threshold)
        by_count.setdefault(int(circuit.node_mask[:start].sum()), set()).add(circuit.circuit_replacement_score)
    assert len(sizes.counts) > 8
    checked = [n for n in range(len(sizes.counts)) if int(sizes.counts[n]) in by_count]
    assert len(checked) > 6
    for i in checked:
        assert any(sizes.replacement[i] == pytest.approx(score) for score in by_count[int(sizes.counts[i])])


def test_the_last_point_keeps_everything(texas_graph):
    whole, sizes = prune(texas_graph, 1.0, 1.0), circuit_sizes(texas_graph)
    assert sizes.counts[-1] == whole.node_mask[: whole.graph.layout.token_nodes.start].sum()
    assert sizes.replacement[-1] == pytest.approx(whole.replacement_score)
    assert sizes.completeness[-1] == pytest.approx(whole.completeness_score)


@pytest.mark.parametrize(("width", "font"), [(COLUMN, "sans"), (TEXT, "serif")])
def test_text_stays_inside_and_apart(texas, faults, width: float, font: str):
    assert faults(influence_curve(texas, width=width, font=font)) == []


def test_a_large_graph_has_a_logarithmic_axis(make_random, faults):
    figure = influence_curve(make_random(150))
    assert figure.axes[0].get_xscale() == "symlog"
    assert faults(figure) == []


def test_a_graph_of_tokens_alone(make_graph, faults):
    figure = influence_curve(make_graph([], ("<bos>", "is"), n_layers=2))
    assert faults(figure) == []
