"""The way of every edge: upward, through the free space between the boxes, never behind a box.

An edge from a lower to a higher line of boxes passes each line in between at a *gap*. The gaps are chosen by dynamic
programming so that the edge bends as little as possible, edges that share a gap get lanes of their own, and a smooth
curve joins the points.
"""

from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np

from viz.excerpt import DrawnEdge
from viz.grid import Box
from viz.placement import Plan, spread

__all__ = ["Route", "crowding", "route"]

CLEARANCE = 4.0
LANE = 2.2  # between the edges of a gutter, plus their width
EDGE_WIDTH = 3.3  # of the strongest edge, beyond the weakest
MAX_EXTRA = 36.0
PORT_SHARE = 0.72
ARROW = 5.0
NARROW = 50.0  # in a gap of less than this an edge keeps to its lane
SLACK = 0.5
BESIDE = 14.0  # as does one that passes a box this near
PORT_GAP = 6.0


@dataclass(frozen=True, slots=True)
class Route:
    """One edge: Bezier control points (1 + 3n of them), which end where the arrow head begins, and its tip."""

    edge: DrawnEdge
    points: tuple[tuple[float, float], ...]
    tip: tuple[float, float]


@dataclass(frozen=True, slots=True)
class _Gap:
    """Free space in a line of boxes: between x `left` and `right`, beside boxes that stand from y `low` to `high`."""

    left: float
    right: float
    low: float
    high: float

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2


@dataclass(frozen=True, slots=True)
class _Pass:
    """Where an edge passes a line of boxes: the gap's number and the gap, and the x of the edge in it."""

    number: int
    gap: _Gap
    x: float

    @property
    def is_tight(self) -> bool:
        """Whether other edges are likely to be near."""
        return self.gap.right - self.gap.left < NARROW or min(self.x - self.gap.left, self.gap.right - self.x) < BESIDE


def route(plan: Plan, edges: tuple[DrawnEdge, ...]) -> tuple[Route, ...]:
    """Routes of all edges, in their order."""
    if plan.is_free:
        return _direct(plan, edges)
    passes = _in_lanes(plan, edges, _all_passes(plan, edges))
    ports = _ports(plan, edges, passes)
    return tuple(_route(plan, edge, way, port) for edge, way, port in zip(edges, passes, ports, strict=True))


def _direct(plan: Plan, edges: tuple[DrawnEdge, ...]) -> tuple[Route, ...]:
    """One curve each, upright at both ends, from the near side of a box to that of the other."""
    turns = [1.0 if plan.boxes[e.target].y >= plan.boxes[e.source].y else -1.0 for e in edges]
    leave: dict[tuple[int, float], list[tuple[float, int]]] = {}
    enter: dict[tuple[int, float], list[tuple[float, int]]] = {}
    for i, (edge, turn) in enumerate(zip(edges, turns, strict=True)):
        leave.setdefault((edge.source, turn), []).append((plan.boxes[edge.target].x, i))
        enter.setdefault((edge.target, -turn), []).append((plan.boxes[edge.source].x, i))
    starts: dict[int, float] = {}
    ends: dict[int, float] = {}
    for found, sides in ((starts, leave), (ends, enter)):
        for (node, _), users in sides.items():
            found.update(_spread_ports(plan, {node: users}))
    routes = []
    for i, (edge, turn) in enumerate(zip(edges, turns, strict=True)):
        source, target = plan.boxes[edge.source], plan.boxes[edge.target]
        y, tip = source.y + turn * source.height / 2, (ends[i], target.y - turn * target.height / 2)
        end = tip[1] - turn * ARROW
        bend = turn * max(abs(end - y) / 2, PORT_GAP)
        routes.append(Route(edge, ((starts[i], y), (starts[i], y + bend), (ends[i], end - bend), (ends[i], end)), tip))
    return tuple(routes)


def crowding(plan: Plan, edges: tuple[DrawnEdge, ...]) -> dict[tuple[int, int], float]:
    """Extra width that gutters need for the edges that want to pass them, as `place` takes it."""
    line_of = _line_of(plan)
    gap_of: dict[tuple[int, int], _Gap] = {}
    need: dict[tuple[int, int], float] = {}
    for edge, way in zip(edges, _all_passes(plan, edges), strict=True):
        for line, step in enumerate(way, line_of[edge.source] + 1):
            gap_of[line, step.number] = step.gap
            need[line, step.number] = need.get((line, step.number), 0.0) + _lane_width(edge)
    extra: dict[tuple[int, int], float] = {}
    for (line, number), gap in gap_of.items():
        before = [plan.boxes[node] for node in plan.lines[line] if plan.boxes[node].x < gap.left]
        missing = min(need[line, number] - (gap.right - gap.left), MAX_EXTRA)
        if before and before[-1].slot is not None and missing > 0:
            pos, slot = before[-1].slot
            extra[pos, slot + 1] = max(extra.get((pos, slot + 1), 0.0), missing)
    return extra


def _lane_width(edge: DrawnEdge) -> float:
    return LANE + EDGE_WIDTH * edge.strength


def _line_of(plan: Plan) -> dict[int, int]:
    return {node: i for i, nodes in enumerate(plan.lines) for node in nodes}


def _gaps(plan: Plan, nodes: tuple[int, ...]) -> tuple[_Gap, ...]:
    """The free intervals of a line of boxes, from left to right."""
    boxes = [plan.boxes[node] for node in nodes]
    gaps = []
    for before, after in pairwise([None, *boxes, None]):
        left = plan.columns[0].low if before is None else before.x + before.width / 2 + CLEARANCE
        right = plan.width if after is None else after.x - after.width / 2 - CLEARANCE
        tall = max(box.height for box in (before, after) if box is not None)
        if right - left > 1.0:
            gaps.append(_Gap(left, right, boxes[0].y - tall / 2, boxes[0].y + tall / 2))
    return tuple(gaps) or (_Gap(plan.width, plan.width + 1.0, boxes[0].y - 1.0, boxes[0].y + 1.0),)


def _all_passes(plan: Plan, edges: tuple[DrawnEdge, ...]) -> list[list[_Pass]]:
    gaps, line_of = [_gaps(plan, nodes) for nodes in plan.lines], _line_of(plan)
    return [
        _passes(plan.boxes[edge.source], plan.boxes[edge.target], gaps[line_of[edge.source] + 1 : line_of[edge.target]])
        for edge in edges
    ]


def _passes(start: Box, end: Box, between: list[tuple[_Gap, ...]]) -> list[_Pass]:
    """Where an edge passes every line between its ends: the way with the least bending (sum of dx^2 / dy)."""
    cost, x, y = np.zeros(1), np.array([start.x]), start.y
    back, places = [], []
    for gaps in between:
        middle = gaps[0].middle
        ideal = start.x + (end.x - start.x) * (middle - start.y) / (end.y - start.y)
        here = np.array([min(max(ideal, gap.left), gap.right) for gap in gaps])
        step = cost[None, :] + (here[:, None] - x[None, :]) ** 2 / (middle - y)
        back.append(step.argmin(axis=1))
        cost, x, y = step.min(axis=1), here, middle
        places.append(here)
    chosen = int((cost + (end.x - x) ** 2 / (end.y - y)).argmin())
    way = []
    for gaps, choices, here in zip(reversed(between), reversed(back), reversed(places), strict=True):
        way.append(_Pass(chosen, gaps[chosen], float(here[chosen])))
        chosen = int(choices[chosen])
    return way[::-1]


def _in_lanes(plan: Plan, edges: tuple[DrawnEdge, ...], passes: list[list[_Pass]]) -> list[list[_Pass]]:
    """The same ways after edges that share a gap have been set side by side."""
    line_of = _line_of(plan)
    members: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for i, (edge, way) in enumerate(zip(edges, passes, strict=True)):
        for step, place in enumerate(way):
            members.setdefault((line_of[edge.source] + 1 + step, place.number), []).append((i, step))
    lanes = [list(way) for way in passes]
    for _, users in sorted(members.items()):
        gap = passes[users[0][0]][users[0][1]].gap
        users.sort(key=partial(_rank_in_gap, plan, edges, passes, gap))
        wanted = [passes[i][step].x for i, step in users]
        centres = _lane_centres(wanted, [_lane_width(edges[i]) for i, _ in users], gap)
        for (i, step), x in zip(users, centres, strict=True):
            lanes[i][step] = replace(passes[i][step], x=x)
    return lanes


def _rank_in_gap(
    plan: Plan, edges: tuple[DrawnEdge, ...], passes: list[list[_Pass]], gap: _Gap, user: tuple[int, int]
) -> tuple[float, float, int, int]:
    """Order of the edges in a gap: where they want to pass if it is wide, then where they come from and go to."""
    edge, way, step = edges[user[0]], passes[user[0]], user[1]
    xs = [plan.boxes[edge.source].x, *(place.x for place in way), plan.boxes[edge.target].x]
    is_narrow = gap.right - gap.left < NARROW
    return 0.0 if is_narrow else float(round(way[step].x)), sum(xs[step : step + 3]), edge.source, edge.target


def _lane_centres(wanted: list[float], widths: list[float], gap: _Gap) -> list[float]:
    """Distinct lanes in a gap, from left to right, around where the edges want to be; narrower where they must be."""
    shrink = min(1.0, (gap.right - gap.left) / sum(widths))
    ascending = np.maximum.accumulate(wanted).tolist()
    return spread(ascending, [width * shrink for width in widths], 0.0, gap.left, gap.right)


def _ports(plan: Plan, edges: tuple[DrawnEdge, ...], passes: list[list[_Pass]]) -> list[tuple[float, float]]:
    """Where each edge leaves its source and enters its target: ends at one box keep the order of their ways."""
    leave: dict[int, list[tuple[float, int]]] = {}
    enter: dict[int, list[tuple[float, int]]] = {}
    for i, (edge, way) in enumerate(zip(edges, passes, strict=True)):
        source, target = plan.boxes[edge.source], plan.boxes[edge.target]
        leave.setdefault(edge.source, []).append((way[0].x if way else target.x, i))
        enter.setdefault(edge.target, []).append((way[-1].x if way else source.x, i))
    starts, ends = _spread_ports(plan, leave), _spread_ports(plan, enter)
    return [(starts[i], ends[i]) for i in range(len(edges))]


def _spread_ports(plan: Plan, users: dict[int, list[tuple[float, int]]]) -> dict[int, float]:
    ports = {}
    for node, unsorted in users.items():
        box, ends = plan.boxes[node], sorted(unsorted)
        room = box.width * PORT_SHARE
        gap = min(PORT_GAP, room / max(1, len(ends) - 1))
        low, high = box.x - room / 2, box.x + room / 2
        first = box.x - gap * (len(ends) - 1) / 2
        # Half way between the box's middle and where the edge comes from: straight edges stay straight.
        wanted = [min(max((first + gap * k + x) / 2, low), high) for k, (x, _) in enumerate(ends)]
        placed = spread(wanted, [0.0] * len(ends), gap, low, high)
        ports.update({i: x for (_, i), x in zip(ends, placed, strict=True)})
    return ports


def _route(plan: Plan, edge: DrawnEdge, way: list[_Pass], port: tuple[float, float]) -> Route:
    start, end = plan.boxes[edge.source], plan.boxes[edge.target]
    tip = (port[1], end.y - end.height / 2)
    # Beside a taller neighbour an edge leaves and arrives upright.
    leave = sorted({start.y + start.height / 2, start.y + _tallest_beside(plan, start) / 2})
    arrive = sorted({tip[1] - ARROW, min(tip[1] - ARROW, end.y - _tallest_beside(plan, end) / 2)})
    knots = _knots([(port[0], y) for y in leave], [(tip[0], y) for y in arrive], way)
    points = [knots[0][:2]]
    for (x0, y0, slope0), (x1, y1, slope1) in pairwise(knots):
        third = (y1 - y0) / 3
        points += [(x0 + slope0 * third, y0 + third), (x1 - slope1 * third, y1 - third), (x1, y1)]
    return Route(edge, tuple(points), tip)


def _tallest_beside(plan: Plan, box: Box) -> float:
    line = next(nodes for nodes in plan.lines if box.node in nodes)
    return max(plan.boxes[node].height for node in line)


def _knots(
    leave: list[tuple[float, float]], arrive: list[tuple[float, float]], way: list[_Pass]
) -> list[tuple[float, float, float]]:
    """Points (x, y, dx/dy) of a smooth curve: straight on where there is room, held in its lane where boxes are near.

    A line is left free, then pinned at its middle, then held upright beside its boxes, until no box is touched.
    """
    hold = [int(place.is_tight) for place in way]
    while True:
        places = list(leave)
        for place, held in zip(way, hold, strict=True):
            heights = ((), (place.gap.middle,), (place.gap.low, place.gap.high))[held]
            places += [(place.x, y) for y in heights]
        places += arrive
        knots = [(x, y, slope) for (x, y), slope in zip(places, _slopes(places), strict=True)]
        outside = [(_outside(knots, place.gap), i) for i, place in enumerate(way) if hold[i] < 2]
        worst = max(outside, default=(0.0, 0))
        if worst[0] <= 0.0:
            return knots
        hold[worst[1]] += 1


def _slopes(places: list[tuple[float, float]]) -> list[float]:
    """dx/dy at each point without overshoot (Fritsch and Carlson 1980), upright at both ends."""
    steps = [(x1 - x0) / (y1 - y0) for (x0, y0), (x1, y1) in pairwise(places)]
    inner = [2 * a * b / (a + b) if a * b > 0 else 0.0 for a, b in pairwise(steps)]
    return [0.0, *inner, 0.0]


def _outside(knots: list[tuple[float, float, float]], gap: _Gap) -> float:
    """How far the curve leaves the gap while it passes the line."""
    xs = [_x_at(knots, gap.low + share * (gap.high - gap.low)) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    return max(0.0, gap.left - min(xs) - SLACK, max(xs) - gap.right - SLACK)


def _x_at(knots: list[tuple[float, float, float]], y: float) -> float:
    """The curve's x at a height (cubic Hermite)."""
    for (x0, y0, slope0), (x1, y1, slope1) in pairwise(knots):
        if y <= y1:
            height = y1 - y0
            t = (y - y0) / height
            from_start = x0 * (1 + 2 * t) * (1 - t) ** 2 + slope0 * height * t * (1 - t) ** 2
            return from_start + x1 * t * t * (3 - 2 * t) + slope1 * height * t * t * (t - 1)
    return knots[-1][0]
