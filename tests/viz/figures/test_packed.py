from itertools import combinations, pairwise

import pytest

from circuits import prune
from viz.excerpt import excerpt
from viz.figures.packed import pack
from viz.measures import PAPER


@pytest.mark.parametrize("width", [300.0, 450.0])
def test_boxes_stand_apart_inside_and_in_the_order_of_positions(make_random, width: float):
    circuit = prune(make_random(60, seed=3), 0.97, 0.98)
    part = excerpt(circuit, 28, 40, has_every_token=False)
    plan = pack(circuit.graph, part, PAPER, width)
    assert sorted(plan.boxes) == list(part.nodes)
    for a, b in combinations(plan.boxes.values(), 2):
        assert abs(a.x - b.x) >= (a.width + b.width) / 2 or abs(a.y - b.y) >= (a.height + b.height) / 2
    for box in plan.boxes.values():
        assert box.x - box.width / 2 >= PAPER.left_gutter - 0.01
        assert box.x + box.width / 2 <= width + 0.01
    for line in plan.lines:
        positions = [circuit.graph.node_attributes(node)["pos"] for node in line]
        assert all(a <= b for a, b in pairwise(positions))
    heights = {circuit.graph.node_attributes(node)["layer"]: [] for node in part.nodes}
    for node in part.nodes:
        heights[circuit.graph.node_attributes(node)["layer"]].append(plan.boxes[node].y)
    assert all(max(heights[a]) < min(heights[b]) for a, b in pairwise(sorted(heights)))
