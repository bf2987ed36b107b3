from itertools import combinations, pairwise

import pytest

from circuits.graph import Target
from circuits.pruning import prune
from viz.excerpt import excerpt
from viz.measures import SCREEN
from viz.placement import place, spread
from viz.routing import crowding
from viz.text import text_width


def plan_of(circuit, max_nodes=30):
    part = excerpt(circuit, max_nodes, None)
    return place(circuit.graph, part, crowding(place(circuit.graph, part, {}), part.edges)), part


@pytest.fixture(scope="module", params=["texas", "other", "dense", "long", "ten"])
def planned(request, texas, other_targets, make_graph, make_random):
    circuits = {
        "texas": lambda: texas,
        "other": lambda: other_targets,
        "dense": lambda: prune(make_random(300), 1.0, 1.0),
        "long": lambda: prune(make_random(150, 12, [f"t{i}" for i in range(200)]), 0.9),
        "ten": lambda: prune(ten_logits(make_graph), 1.0, 1.0),
    }
    circuit = circuits[request.param]()
    return circuit, *plan_of(circuit, 60)


def ten_logits(make_graph):
    targets = [Target("logit", f"a long name of a city {k}", 4, 0.2 - 0.01 * k, 2, (k,)) for k in range(10)]
    return make_graph([(0, 3, "a"), (1, 4, "b")], ("<bos>", "x", "y", "z", "is"), targets, n_layers=2)


def corners(box):
    return box.x - box.width / 2, box.x + box.width / 2, box.y - box.height / 2, box.y + box.height / 2


def test_no_two_boxes_overlap(planned):
    _, plan, _ = planned
    for a, b in combinations(plan.boxes.values(), 2):
        left, right, low, high = corners(a)
        other_left, other_right, other_low, other_high = corners(b)
        apart = right + 4 <= other_left or other_right + 4 <= left or high + 4 <= other_low or other_high + 4 <= low
        assert apart, (a, b)


def test_every_drawn_node_has_a_box_inside_the_plot(planned):
    _, plan, part = planned
    assert set(plan.boxes) == set(part.nodes)
    for box in plan.boxes.values():
        left, right, low, high = corners(box)
        assert left >= 40
        assert right <= plan.width
        assert low >= 0
        assert high <= plan.height


def test_positions_are_columns_in_order(planned):
    circuit, plan, _ = planned
    strips = {column.pos: column for column in plan.columns}
    drawn = [column.pos for column in plan.columns if column.pos is not None]
    assert drawn == sorted(drawn)
    assert all(a.high <= b.low + 1e-9 for a, b in pairwise(plan.columns))
    for node, box in plan.boxes.items():
        if box.kind != "target":
            strip = strips[circuit.graph.node_attributes(node)["pos"]]
            left, right, *_ = corners(box)
            assert strip.low <= left
            assert right <= strip.high


def test_layers_rise_from_tokens_to_targets(planned):
    circuit, plan, _ = planned
    heights: dict[int, list[float]] = {}
    for node, box in plan.boxes.items():
        layer = circuit.graph.n_layers if box.kind == "target" else circuit.graph.node_attributes(node)["layer"]
        heights.setdefault(layer, []).append(box.y)
    layers = sorted(heights)
    assert layers[0] == -1
    assert all(max(heights[a]) < min(heights[b]) for a, b in pairwise(layers))


def test_text_fits_its_box(planned):
    _, plan, _ = planned
    for box in plan.boxes.values():
        size = 7 if box.kind == "error" else SCREEN.font_size
        assert max(text_width(line, size) for line in box.lines) <= box.width - 4


def test_layers_without_anything_share_a_thin_band(make_graph):
    target = Target("logit", " x", 1, 1.0, 20, (1,))
    graph = make_graph([(3, 1, "a"), (12, 1, "b")], ("<bos>", "is"), [target], n_layers=20)
    plan, _ = plan_of(prune(graph, 0.5))
    names = [band.label for band in plan.bands]
    assert names[0] == "tokens"
    assert names[-1] == "logits"
    empty = [band for band in plan.bands if band.is_empty]
    assert any(band.label.startswith("layers ") for band in empty)
    assert all(band.high - band.low < 20 for band in empty)


def test_tokens_left_out_are_counted(make_random):
    circuit = prune(make_random(60, tokens=[f"t{i}" for i in range(300)]), 0.8)
    plan, part = plan_of(circuit, 10)
    hidden = sum(int(column.label.split()[1]) for column in plan.columns if column.pos is None)
    shown = sum(circuit.graph.layout.kind(node) == "token" for node in part.nodes)
    assert hidden + shown == 300


def test_spread_keeps_what_fits_and_moves_the_rest():
    assert spread([10, 50], [10, 10], 5, 0, 100) == [10, 50]
    assert spread([10, 12], [10, 10], 5, 0, 100) == [10, 25]
    assert spread([99, 99], [10, 10], 0, 0, 100) == [85, 95]
    assert spread([], [], 5, 0, 100) == []
    crowded = spread([5, 5, 5], [10, 10, 10], 0, 0, 20)
    assert crowded == [5, 15, 25]
