"""Which box stands in which cell of a picture: a cell is one layer at one position, with sub-columns where it is full.

Nothing here has coordinates yet (see `viz.placement`). All lengths are points.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

from circuits.graph import Graph
from viz.excerpt import Excerpt
from viz.measures import SCREEN, Measures
from viz.text import text_width, visible, visible_token, wrap

__all__ = ["Box", "Grid", "lay_grid", "layer_bands", "side_by_side", "target_boxes", "text_box", "token_box"]

# What a line of boxes and a sub-column take, about; only the number of sub-columns hangs on it.
LINE_ESTIMATE, SIDE_ESTIMATE, TOKEN_GAP, FRAME_ESTIMATE = 54.0, 15.0, 15.0, 130.0


@dataclass(frozen=True, slots=True)
class Box:
    """A node's box: its size, the text in it, its sub-column, and, once it is placed, its centre."""

    node: int
    kind: str
    width: float
    height: float
    lines: tuple[str, ...]
    caption: str = ""
    slot: tuple[int, int] | None = None
    x: float = 0.0
    y: float = 0.0


@dataclass(frozen=True, slots=True)
class Grid:
    """Boxes by cell.

    Attributes:
        cells: the features at (layer, pos), in the order in which they fill the cell's sub-columns.
        errors: the error at (layer, pos); errors have a narrow sub-column of their own at the left of a position.
        bands: layers of each band, from the bottom; layers with nothing in them share a band.
        positions: drawn positions from left to right, None for each run of those left out.
        sub_columns: how many features stand side by side at a position.
        feature_width: width of every feature's box.
        measures: lengths of everything.
    """

    cells: dict[tuple[int, int], list[Box]]
    errors: dict[tuple[int, int], Box]
    bands: tuple[tuple[int, ...], ...]
    positions: tuple[int | None, ...]
    sub_columns: dict[int, int]
    feature_width: float
    measures: Measures = SCREEN

    def slot_widths(self, pos: int) -> list[float]:
        """Widths of a position's sub-columns, the one for errors first."""
        has_errors = any(where == pos for _, where in self.errors)
        return [self.measures.error_size[0]] * has_errors + [self.feature_width] * self.sub_columns.get(pos, 0)

    def n_lines(self, band: tuple[int, ...]) -> int:
        """Lines of boxes in a band."""
        cells = [(pos, len(boxes)) for (layer, pos), boxes in self.cells.items() if layer in band]
        return max([1, *(-(-count // self.sub_columns[pos]) for pos, count in cells)])


def lay_grid(graph: Graph, excerpt: Excerpt, measures: Measures = SCREEN) -> Grid:
    """Sort the nodes of an excerpt into cells, and choose sub-columns that bring the picture near to its aspect."""
    cells: dict[tuple[int, int], list[Box]] = {}
    errors: dict[tuple[int, int], Box] = {}
    for node in excerpt.nodes:
        attributes = graph.node_attributes(node)
        key = (attributes["layer"], attributes["pos"])
        if attributes["kind"] == "feature":
            own = "" if graph.feature_labels[node] is None else f"#{attributes['feature_idx']}"
            caption = excerpt.captions.get(node, own)
            cells.setdefault(key, []).append(text_box(measures, node, "feature", attributes["label"], caption))
        elif attributes["kind"] == "error":
            errors[key] = Box(node, "error", *measures.error_size, ("err" if measures.has_short_names else "error",))
    width = max([54.0, *(box.width for boxes in cells.values() for box in boxes)])
    cells = {key: [replace(box, width=width) for box in boxes] for key, boxes in sorted(cells.items())}
    bands = layer_bands(graph.n_layers, {layer for layer, _ in (*cells, *errors)})
    one_each = {pos: 1 for _, pos in cells}
    return _with_sub_columns(graph, Grid(cells, errors, bands, _positions(graph, excerpt), one_each, width, measures))


def side_by_side(boxes: list[Box], n_side: int) -> list[list[Box]]:
    """A list of boxes cut into at most `n_side` stacks of nearly equal height, the taller ones first."""
    n_side = max(1, min(n_side, len(boxes)))
    size, extra = divmod(len(boxes), n_side)
    stops = [0]
    for side in range(n_side):
        stops.append(stops[-1] + size + (side < extra))
    return [boxes[start:stop] for start, stop in pairwise(stops)]


def token_box(graph: Graph, pos: int, measures: Measures = SCREEN) -> Box:
    """The box of a token, as wide as its text."""
    lines = wrap(visible_token(graph.tokens[pos]), measures.font_size, measures.label_width, 2)
    width = max(text_width(line, measures.font_size) for line in lines) + 2 * measures.pad_x
    height = len(lines) * measures.line_height + 2 * measures.pad_y
    return Box(graph.layout.token_node(pos), "token", width, height, lines)


def target_boxes(graph: Graph, excerpt: Excerpt, measures: Measures = SCREEN) -> list[Box]:
    """Boxes of the drawn targets in their order; one with many edges is wide enough to tell them apart."""
    boxes = []
    for k, target in enumerate(graph.targets):
        node = graph.layout.target_nodes.start + k
        if node not in excerpt.nodes:
            continue
        is_logit = target.kind == "logit"
        text = visible_token(target.label) if is_logit else target.label
        box = text_box(measures, node, "target", text, f"p = {target.weight:.2f}" if is_logit else target.kind)
        n_edges = sum(edge.target == node for edge in excerpt.edges)
        boxes.append(replace(box, width=max(box.width + 6, min(8.0 * n_edges, 150.0)), height=box.height + 3))
    return boxes


def text_box(measures: Measures, node: int, kind: str, text: str, caption: str) -> Box:
    """A box as large as its text, without a place."""
    lines = wrap(visible(text) or "(no text)", measures.font_size, measures.label_width, measures.max_lines)
    width = max(text_width(line, measures.font_size) for line in lines) + 2 * measures.pad_x
    if kind != "target" and not measures.caption_size:
        caption = ""
    small = measures.target_small[1] if kind == "target" else measures.caption_height
    height = len(lines) * measures.line_height + (small if caption else 0) + 2 * measures.pad_y
    return Box(node, kind, max(width, 40.0), height, lines, caption)


def layer_bands(n_layers: int, used: Iterable[int]) -> tuple[tuple[int, ...], ...]:
    """One band for each layer with something in it, one for each run of layers without."""
    filled = set(used)
    bands: list[tuple[int, ...]] = []
    for layer in range(n_layers):
        if layer not in filled and bands and bands[-1][-1] not in filled:
            bands[-1] = (*bands[-1], layer)
        else:
            bands.append((layer,))
    return tuple(bands)


def _positions(graph: Graph, excerpt: Excerpt) -> tuple[int | None, ...]:
    layout = graph.layout
    drawn = {layout.token_pos(node) for node in excerpt.nodes if layout.kind(node) == "token"}
    positions: list[int | None] = []
    for pos in range(layout.n_pos):
        if pos in drawn:
            positions.append(pos)
        elif not positions or positions[-1] is not None:
            positions.append(None)
    return tuple(positions)


def _with_sub_columns(graph: Graph, grid: Grid) -> Grid:
    """Widen the fullest cells of the tallest band step by step; the step nearest to the wanted shape is the answer."""
    tokens = {pos: token_box(graph, pos, grid.measures).width for pos in grid.positions if pos is not None}
    aspect = grid.measures.aspect
    best, best_misfit = grid, float("inf")
    while True:
        lines = [grid.n_lines(band) for band in grid.bands]
        width = sum(
            TOKEN_GAP + max(token, sum(grid.slot_widths(pos)) + SIDE_ESTIMATE * (len(grid.slot_widths(pos)) - 1))
            for pos, token in tokens.items()
        )
        height = sum(lines) * LINE_ESTIMATE + FRAME_ESTIMATE
        misfit = max(width / height / aspect, aspect * height / width)
        if misfit < best_misfit:
            best, best_misfit = grid, misfit
        tallest = max(lines, default=1)
        if tallest == 1 or width / height > aspect:
            return best
        band = grid.bands[lines.index(tallest)]
        full = {
            pos
            for (layer, pos), boxes in grid.cells.items()
            if layer in band and -(-len(boxes) // grid.sub_columns[pos]) == tallest
        }
        wider = {pos: count + (pos in full) for pos, count in grid.sub_columns.items()}
        grid = replace(grid, sub_columns=wider)
