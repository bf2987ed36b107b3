from itertools import combinations

import pytest

from circuits import Circuit
from viz.figures.graph_figure import GraphFigure, pinned_figure
from viz.figures.style import COLUMN
from viz.figures.tikz import tikz
from viz.routing import route


@pytest.fixture(scope="module")
def places(texas: Circuit) -> dict[int, tuple[float, float]]:
    layout = texas.graph.layout
    *_, first, last = (node for node in range(layout.n_features) if texas.node_mask[node])
    token, target = layout.token_node(8), layout.target_nodes.start
    return {last: (0.2, 0.0), first: (0.7, 0.8), token: (0.5, 0.95), target: (0.4, 0.5)}


@pytest.fixture(scope="module")
def figure(texas: Circuit, places) -> GraphFigure:
    nodes = [*places, texas.graph.layout.error_node(3, 9)]
    return pinned_figure(texas, nodes, places=places)


def test_nodes_stand_where_they_were_put(figure: GraphFigure, places):
    assert set(figure.plan.boxes) == set(figure.part.nodes) > set(places)
    for node, (x, y) in places.items():
        box = figure.plan.boxes[node]
        at = x * figure.plan.width, (1 - y) * figure.plan.height
        low = box.width / 2, box.height / 2
        high = figure.plan.width - low[0], figure.plan.height - low[1]
        nearest = [min(max(a, b), c) for a, b, c in zip(at, low, high, strict=True)]
        assert [box.x, box.y] == pytest.approx(nearest)


def test_boxes_stand_apart_in_a_column(figure: GraphFigure):
    assert figure.width == pytest.approx(COLUMN)
    assert figure.smallest_type >= 5
    for a, b in combinations(figure.plan.boxes.values(), 2):
        assert abs(a.x - b.x) > (a.width + b.width) / 2 or abs(a.y - b.y) > (a.height + b.height) / 2


def test_edges_go_from_side_to_side_also_downward(figure: GraphFigure):
    ways = route(figure.plan, figure.part.edges)
    assert ways
    turns = set()
    for way in ways:
        source, target = figure.plan.boxes[way.edge.source], figure.plan.boxes[way.edge.target]
        turn = 1 if target.y >= source.y else -1
        turns.add(turn)
        assert way.points[0][1] == pytest.approx(source.y + turn * source.height / 2)
        assert way.tip[1] == pytest.approx(target.y - turn * target.height / 2)
        assert abs(way.points[0][0] - source.x) <= source.width / 2
        assert abs(way.tip[0] - target.x) <= target.width / 2
    assert turns == {1, -1}


def test_it_is_drawn_without_layers(figure: GraphFigure):
    assert "band_" not in figure.picture().source
    text = tikz(figure)
    assert text.count("orrerypale") == 1  # the colour's definition
    assert "@" in text
