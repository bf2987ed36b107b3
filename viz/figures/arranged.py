"""Nodes where people put them: the subgraph of pinned nodes as it was arranged in the page.

Places are shares of the width and of the height, from the upper left, as the page keeps them; a node that nobody moved
stands in the line of its layer, where there is room. The picture is as high as it must be for boxes not to touch.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations

from circuits.graph import Graph
from viz.excerpt import Excerpt
from viz.grid import Box, target_boxes, text_box, token_box
from viz.measures import Measures
from viz.placement import Band, Column, Plan
from viz.text import text_width, visible_token, wrap

__all__ = ["arrange"]

APART, ABOVE = 8.0, 20.0  # points between boxes beside and above one another
HEIGHTS = tuple(0.5 * 1.15**k for k in range(13))  # over the width
PER_LINE = 4
SIDEWAYS = (
    0.0,
    *(sign * 0.04 * k for k in range(1, 25) for sign in (-1, 1)),
)  # where a node may stand that was not put

Places = Mapping[int, tuple[float, float]]


def arrange(graph: Graph, part: Excerpt, measures: Measures, width: float, places: Places) -> tuple[Plan, bool]:
    """Put the nodes of an excerpt where people put them.

    Args:
        graph: where the nodes are from.
        part: what is drawn.
        measures: lengths of everything.
        width: of the plot.
        places: shares of width and height (downward) by node.

    Returns:
        The plan, and whether its boxes stand apart.
    """
    boxes = {box.node: box for box in _boxes(graph, part, measures)}
    own = [node for node in boxes if node in places]
    others = {node: spot for node, spot in _default_places(graph, part).items() if node not in places}
    for ratio in HEIGHTS:
        height = ratio * width
        placed = [_put(boxes[node], places[node], width, height) for node in own]
        for node, (x, y) in others.items():
            tried = [_put(boxes[node], (x + step, y), width, height) for step in SIDEWAYS]
            placed.append(next((box for box in tried if _stand_apart([*placed, box])), tried[0]))
        if _stand_apart(placed):
            break
    by_node = {node: box for node in boxes for box in placed if box.node == node}
    bands = (Band("", 0.0, 0.0, True), Band("", 0.0, height, True))
    plan = Plan(by_node, (tuple(by_node),), bands, (Column(None, 0.0, width),), width, height, is_free=True)
    return plan, _stand_apart(placed)


def _boxes(graph: Graph, part: Excerpt, measures: Measures) -> Iterator[Box]:
    layout, size = graph.layout, measures.font_size
    for node in part.nodes:
        kind, attributes = layout.kind(node), graph.node_attributes(node)
        where = f"@{visible_token(graph.tokens[attributes['pos']])}"
        if kind == "feature":
            box = text_box(measures, node, kind, attributes["label"], "")
            caption = wrap(f"L{attributes['layer']} {where}", size, measures.label_width, 1)[0]
            wide = max(box.width, text_width(caption, size) + 2 * measures.pad_x)
            yield replace(box, caption=caption, width=wide, height=box.height + measures.line_height)
        elif kind == "error":
            text = wrap(f"err L{attributes['layer']} {where}", size, measures.label_width, 1)[0]
            yield Box(node, kind, text_width(text, size) + 2 * measures.pad_x, measures.error_size[1], (text,))
        elif kind == "token":
            yield token_box(graph, layout.token_pos(node), measures)
    yield from target_boxes(graph, part, measures)


def _default_places(graph: Graph, part: Excerpt) -> dict[int, tuple[float, float]]:
    """Layers as lines, the highest on top, each from left to right by position; long ones as several lines."""
    by_layer: dict[int, list[tuple[int, int]]] = {}
    for node in part.nodes:
        attributes = graph.node_attributes(node)
        by_layer.setdefault(int(attributes["layer"]), []).append((int(attributes["pos"]), node))
    lines = []
    for layer in sorted(by_layer, reverse=True):
        row = sorted(by_layer[layer])
        lines += [row[start : start + PER_LINE] for start in range(0, len(row), PER_LINE)]
    return {
        node: ((i + 0.5) / len(line), (k + 0.5) / len(lines))
        for k, line in enumerate(lines)
        for i, (_, node) in enumerate(line)
    }


def _put(box: Box, spot: tuple[float, float], width: float, height: float) -> Box:
    """The box with its middle at a spot, or as near as fits inside."""
    x = min(max(spot[0] * width, box.width / 2), width - box.width / 2)
    y = min(max((1 - spot[1]) * height, box.height / 2), height - box.height / 2)
    return replace(box, x=x, y=y)


def _stand_apart(boxes: list[Box]) -> bool:
    return all(
        abs(a.x - b.x) >= (a.width + b.width) / 2 + APART or abs(a.y - b.y) >= (a.height + b.height) / 2 + ABOVE
        for a, b in combinations(boxes, 2)
    )
