import numpy as np
import pytest

from circuits.pruning import prune
from viz.excerpt import excerpt
from viz.placement import place
from viz.routing import crowding, route


def routed(circuit, max_nodes):
    part = excerpt(circuit, max_nodes, None)
    plan = place(circuit.graph, part, crowding(place(circuit.graph, part, {}), part.edges))
    return plan, route(plan, part.edges)


def curve(way, steps=12):
    """Points along a route, from its Bezier pieces."""
    t = np.linspace(0, 1, steps)[:, None]
    points = np.array(way.points)
    pieces = [points[i : i + 4] for i in range(0, len(points) - 1, 3)]
    return np.concatenate(
        [(1 - t) ** 3 * a + 3 * t * (1 - t) ** 2 * b + 3 * t**2 * (1 - t) * c + t**3 * d for a, b, c, d in pieces]
    )


@pytest.mark.parametrize("max_nodes", [12, 70])
@pytest.mark.parametrize("seed", range(2))
def test_no_edge_passes_behind_a_box(make_random, seed, max_nodes):
    plan, ways = routed(prune(make_random(150, seed=seed), 1.0, 1.0), max_nodes)
    assert ways
    for way in ways:
        points = curve(way)
        for node, box in plan.boxes.items():
            if node not in (way.edge.source, way.edge.target):
                inside = (abs(points[:, 0] - box.x) < box.width / 2) & (abs(points[:, 1] - box.y) < box.height / 2)
                assert not inside.any(), (way.edge, box)


def test_edges_join_the_boxes_they_belong_to_and_only_rise(texas):
    plan, ways = routed(texas, 30)
    for way in ways:
        source, target = plan.boxes[way.edge.source], plan.boxes[way.edge.target]
        assert way.points[0][1] == pytest.approx(source.y + source.height / 2)
        assert abs(way.points[0][0] - source.x) <= source.width / 2
        assert way.tip[1] == pytest.approx(target.y - target.height / 2)
        assert abs(way.tip[0] - target.x) <= target.width / 2
        assert (np.diff(curve(way)[:, 1]) >= -1e-9).all()


def test_edges_stay_inside_the_plot(make_random):
    plan, ways = routed(prune(make_random(200, seed=3), 1.0, 1.0), 60)
    for way in ways:
        xs = curve(way)[:, 0]
        assert xs.min() >= 40
        assert xs.max() <= plan.width + 1


def test_ends_at_one_box_are_apart(texas):
    _, ways = routed(texas, 30)
    tips: dict[int, list[float]] = {}
    for way in ways:
        tips.setdefault(way.edge.target, []).append(way.tip[0])
    assert max(map(len, tips.values())) > 3
    for xs in tips.values():
        assert len(xs) == 1 or np.diff(sorted(xs)).min() > 2


def test_crowded_gutters_are_widened(make_random):
    circuit = prune(make_random(300), 1.0, 1.0)
    part = excerpt(circuit, 60, None)
    plan = place(circuit.graph, part, {})
    extra = crowding(plan, part.edges)
    assert extra
    assert all(0 < width <= 36 for width in extra.values())
    assert place(circuit.graph, part, extra).width > plan.width
