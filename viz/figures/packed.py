"""An arrangement for little room: layers are bands as ever, but nodes stand where there is space, near their position.

Columns for every position take most of a narrow page where nodes stand at many positions. Here every line of a band
is filled from left to right in the order of the positions, and a box says at which token its node is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from circuits.graph import Graph
from viz.excerpt import Excerpt
from viz.grid import Box, layer_bands, target_boxes, text_box, token_box
from viz.measures import Measures
from viz.placement import Column, Plan, band_name, spread, stacked
from viz.text import text_width, visible_token, wrap

__all__ = ["pack"]

FILLED = 0.82  # of a line, at most: edges pass through the rest


def pack(graph: Graph, part: Excerpt, measures: Measures, width: float) -> Plan:
    """Arrange the nodes of an excerpt in lines of `width` points.

    Args:
        graph: where the nodes are.
        part: what is drawn.
        measures: lengths of everything.
        width: of the plot, layer names included.
    """
    token_lines = _lines([token_box(graph, pos, measures) for pos in _positions(graph, part)], width, measures)
    at = {graph.layout.token_pos(box.node): box.x for line in token_lines for box in line}
    inner = [_inner_box(graph, part, node, measures) for node in part.nodes if node < graph.layout.token_nodes.start]
    wide = max([0.0, *(box.width for box in inner if box.kind == "feature")])
    inner = [replace(box, width=wide) if box.kind == "feature" else box for box in inner]
    layers = {box.node: int(graph.node_attributes(box.node)["layer"]) for box in inner}
    strips = [("in", token_lines, False)]
    for band in layer_bands(graph.n_layers, layers.values()):
        boxes = [_ideal(graph, box, at) for box in inner if layers[box.node] in band]
        strips.append((band_name(band, measures), _lines(boxes, width, measures), not boxes))
    targets = [_ideal(graph, box, at) for box in target_boxes(graph, part, measures)]
    strips.append(("out", _lines(targets, width, measures), False))
    boxes_by_node, lines, bands, height = stacked(strips, measures)
    columns = (Column(None, measures.left_gutter, width),)
    return Plan(boxes_by_node, lines, bands, columns, width, height)


def _positions(graph: Graph, part: Excerpt) -> Iterator[int]:
    layout = graph.layout
    yield from (layout.token_pos(node) for node in part.nodes if layout.kind(node) == "token")


def _inner_box(graph: Graph, part: Excerpt, node: int, measures: Measures) -> Box:
    attributes = graph.node_attributes(node)
    size = measures.font_size
    token = wrap(visible_token(graph.tokens[attributes["pos"]]), size, measures.label_width - text_width("@", size), 1)[
        0
    ]
    if attributes["kind"] == "feature":
        box = text_box(measures, node, "feature", attributes["label"], "")
        return replace(box, caption=f"@{token}", height=box.height + measures.line_height)
    text = f"err @{token}"
    return Box(node, "error", text_width(text, size) + 2 * measures.pad_x, measures.error_size[1], (text,))


def _ideal(graph: Graph, box: Box, at: dict[int, float]) -> Box:
    """The box above its token, or between those that are near."""
    pos = int(graph.node_attributes(box.node)["pos"])
    nearest = min(at, key=lambda other: (abs(other - pos), other))
    return replace(box, x=at[nearest])


def _lines(boxes: Sequence[Box], width: float, measures: Measures) -> list[list[Box]]:
    """As few lines as it takes, each from left to right; all of them span the width."""
    if not boxes:
        return []
    low, high, gutter = measures.left_gutter, width - measures.right_margin, measures.gutter
    room = FILLED * (high - low)
    ordered = sorted(boxes, key=lambda box: (box.x, box.node))
    n_lines = max(1, -int(-sum(box.width + gutter for box in boxes) // room))
    while True:
        lines = [ordered[start::n_lines] for start in range(n_lines)]
        if n_lines >= len(boxes) or all(sum(box.width + gutter for box in line) <= high - low for line in lines):
            return [_spread_out(line, low, high, gutter) for line in lines if line]
        n_lines += 1


def _spread_out(line: list[Box], low: float, high: float, gutter: float) -> list[Box]:
    """Boxes near where they want to be; tokens, which want nothing, at even distances."""
    widths = [box.width for box in line]
    ideals = [box.x for box in line]
    if not any(ideals):
        free = (high - low - sum(widths)) / (len(line) + 1)
        edge = low + free
        ideals = []
        for wide in widths:
            ideals.append(edge + wide / 2)
            edge += wide + free
    centres = spread(ideals, widths, gutter, low, high)
    return [replace(box, x=x) for box, x in zip(line, centres, strict=True)]
