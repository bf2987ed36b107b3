"""Where everything stands in a picture: positions are columns, layers are bands from the tokens up to the targets.

All lengths are points, y grows upward, and the bottom of the token band is y = 0. A band holds one or more *lines* of
boxes; the space between two sub-columns is a *gutter*, through which edges pass.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from circuits.graph import Graph
from viz.excerpt import Excerpt
from viz.grid import Box, Grid, lay_grid, side_by_side, target_boxes, token_box
from viz.measures import SCREEN, Measures
from viz.text import text_width

__all__ = ["Band", "Column", "Plan", "band_name", "place", "spread", "stacked"]

SWEEPS = 4


@dataclass(frozen=True, slots=True)
class Band:
    """A horizontal strip: the tokens, one layer, a run of layers with nothing in them, or the targets."""

    label: str
    low: float
    high: float
    is_empty: bool


@dataclass(frozen=True, slots=True)
class Column:
    """The strip of one position and the centres of its sub-columns, or of a run left out (`pos` is None)."""

    pos: int | None
    low: float
    high: float
    slots: tuple[float, ...] = ()
    label: str = ""

    @property
    def centre(self) -> float:
        return (self.low + self.high) / 2


@dataclass(frozen=True, slots=True)
class Plan:
    """A finished arrangement.

    Attributes:
        boxes: by node.
        lines: nodes that stand side by side, from the bottom to the top, each from left to right.
        width, height: of the whole plot, layer names included.
        is_free: whether boxes stand anywhere; then edges go to them by the shortest way.
    """

    boxes: dict[int, Box]
    lines: tuple[tuple[int, ...], ...]
    bands: tuple[Band, ...]
    columns: tuple[Column, ...]
    width: float
    height: float
    is_free: bool = False


def spread(ideals: Sequence[float], widths: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Centres as near to `ideals` (ascending) as fits without overlap between `low` and `high`.

    Where they cannot fit they still keep their distance and run past `high`.
    """
    centres: list[float] = []
    edge = low
    for ideal, width in zip(ideals, widths, strict=True):
        centres.append(max(ideal, edge + width / 2))
        edge = centres[-1] + width / 2 + gap
    edge = high
    for i in reversed(range(len(centres))):
        centres[i] = min(centres[i], edge - widths[i] / 2)
        edge = centres[i] - widths[i] / 2 - gap
    shift = max(0.0, low - (centres[0] - widths[0] / 2)) if centres else 0.0
    return [centre + shift for centre in centres]


def place(
    graph: Graph, excerpt: Excerpt, gutters: Mapping[tuple[int, int], float], measures: Measures = SCREEN
) -> Plan:
    """Arrange the nodes of an excerpt.

    Args:
        graph: where the nodes are.
        excerpt: what is drawn.
        gutters: extra width to the left of a sub-column, by (pos, slot); one slot more for the right of the last.
        measures: lengths of everything.
    """
    grid = lay_grid(graph, excerpt, measures)
    columns = _columns(graph, grid, gutters)
    grid = replace(grid, cells=_ordered_cells(graph, grid, columns, excerpt))
    return _coordinates(graph, excerpt, grid, columns)


def _columns(graph: Graph, grid: Grid, gutters: Mapping[tuple[int, int], float]) -> tuple[Column, ...]:
    columns: list[Column] = []
    measures = grid.measures
    left = measures.left_gutter
    hidden = _hidden_runs(grid.positions, graph.layout.n_pos)
    for pos, n_hidden in zip(grid.positions, hidden, strict=True):
        if pos is None:
            label = "…" if measures.has_short_names else f"… {n_hidden} more"
            right = left + text_width(label, measures.font_size - 1.5) + 2 * measures.column_margin
            columns.append(Column(None, left, right, label=label))
        else:
            columns.append(_column(graph, grid, pos, left, gutters))
        left = columns[-1].high
    return tuple(columns)


def _column(graph: Graph, grid: Grid, pos: int, left: float, gutters: Mapping[tuple[int, int], float]) -> Column:
    widths, margin, gutter = grid.slot_widths(pos), grid.measures.column_margin, grid.measures.gutter
    edges, x = [], margin
    for slot, width in enumerate(widths):
        x += gutters.get((pos, slot), 0.0) + (gutter if slot else 0.0)
        edges.append(x + width / 2)
        x += width
    inner = x + gutters.get((pos, len(widths)), 0.0) + margin if widths else 0.0
    width = max(inner, token_box(graph, pos, grid.measures).width + 2 * margin)
    shift = left + (width - inner) / 2
    return Column(pos, left, left + width, tuple(shift + edge for edge in edges))


def _hidden_runs(positions: tuple[int | None, ...], n_pos: int) -> list[int]:
    """For every entry the number of positions left out that it stands for."""
    ends = [-1, *(-2 if pos is None else pos for pos in positions), n_pos]
    return [ends[i + 1] - ends[i - 1] - 1 if ends[i] == -2 else 0 for i in range(1, len(ends) - 1)]


def _ordered_cells(
    graph: Graph, grid: Grid, columns: tuple[Column, ...], excerpt: Excerpt
) -> dict[tuple[int, int], list[Box]]:
    """Boxes of each cell sorted by where their edges lead (left to right), so that fewer edges cross."""
    by_pos = {column.pos: column for column in columns if column.pos is not None}
    at = {node: by_pos[graph.node_attributes(node)["pos"]].centre for node in excerpt.nodes}
    neighbours: dict[int, list[tuple[int, float]]] = {}
    for edge in excerpt.edges:
        neighbours.setdefault(edge.source, []).append((edge.target, edge.influence))
        neighbours.setdefault(edge.target, []).append((edge.source, edge.influence))
    cells = dict(grid.cells)
    for _ in range(SWEEPS):
        for (layer, pos), boxes in cells.items():
            means = {box.node: _mean(at, neighbours.get(box.node, [])) for box in boxes}
            cells[layer, pos] = sorted(boxes, key=lambda box: (means[box.node], box.node))
            for slot, stack in _stacks(grid, pos, cells[layer, pos]):
                at.update({box.node: by_pos[pos].slots[slot] for box in stack})
    return cells


def _mean(at: dict[int, float], neighbours: list[tuple[int, float]]) -> float:
    total = sum(weight for _, weight in neighbours)
    return sum(at[node] * weight for node, weight in neighbours) / total if total > 0 else 0.0


def _stacks(grid: Grid, pos: int, boxes: list[Box]) -> list[tuple[int, list[Box]]]:
    """(slot, boxes) of a cell: as many stacks as sub-columns, or as boxes, around the middle of the position."""
    stacks = side_by_side(boxes, grid.sub_columns[pos])
    first = len(grid.slot_widths(pos)) - grid.sub_columns[pos] + (grid.sub_columns[pos] - len(stacks)) // 2
    return list(enumerate(stacks, first))


def _coordinates(graph: Graph, excerpt: Excerpt, grid: Grid, columns: tuple[Column, ...]) -> Plan:
    by_pos = {column.pos: column for column in columns if column.pos is not None}
    tokens = [replace(token_box(graph, pos, grid.measures), x=column.centre) for pos, column in sorted(by_pos.items())]
    short = grid.measures.has_short_names
    strips: list[tuple[str, list[list[Box]], bool]] = [("in" if short else "tokens", [tokens], False)]
    for band in grid.bands:
        name = band_name(band, grid.measures)
        lines = _band_lines(grid, band, by_pos)
        strips.append((name, lines, not any(lines)))
    margin = grid.measures.right_margin
    width = columns[-1].high + margin
    targets = _target_lines(graph, excerpt, by_pos, width, grid.measures)
    width = max([width, *(box.x + box.width / 2 + margin for line in targets for box in line)])
    name = "targets" if any(t.kind != "logit" for t in graph.targets) else "logits"
    strips.append(("out" if short else name, targets, False))
    boxes, lines_of_nodes, bands, height = stacked(strips, grid.measures)
    return Plan(boxes, lines_of_nodes, bands, columns, width, height)


def band_name(band: tuple[int, ...], measures: Measures) -> str:
    """What a band of layers is called."""
    word, words = ("L", "L") if measures.has_short_names else ("layer ", "layers ")
    return f"{word}{band[0]}" if len(band) == 1 else f"{words}{band[0]}–{band[-1]}"


def _band_lines(grid: Grid, band: tuple[int, ...], by_pos: dict[int, Column]) -> list[list[Box]]:
    """Lines of one band from its bottom, with x coordinates and slots."""
    lines: list[list[Box]] = [[] for _ in range(grid.n_lines(band))]
    for (layer, pos), error in grid.errors.items():
        if layer in band:
            lines[0].append(replace(error, x=by_pos[pos].slots[0], slot=(pos, 0)))
    for (layer, pos), boxes in grid.cells.items():
        if layer in band:
            stacks = _stacks(grid, pos, boxes)
            base = (len(lines) - max(len(stack) for _, stack in stacks)) // 2
            for slot, stack in stacks:
                for row, box in enumerate(stack, base):
                    lines[row].append(replace(box, x=by_pos[pos].slots[slot], slot=(pos, slot)))
    return lines


def _target_lines(
    graph: Graph, excerpt: Excerpt, by_pos: dict[int, Column], width: float, measures: Measures
) -> list[list[Box]]:
    """Targets over their positions where there is room, on several lines where one is too narrow."""
    targets = {graph.layout.target_nodes.start + k: target for k, target in enumerate(graph.targets)}
    boxes = [replace(box, x=by_pos[targets[box.node].pos].centre) for box in target_boxes(graph, excerpt, measures)]
    boxes.sort(key=lambda box: box.x)
    low, high, gutter = measures.left_gutter, width - measures.right_margin, measures.gutter
    n_lines = -int(-sum(box.width + gutter for box in boxes) // (high - low + gutter))
    lines = []
    for line in reversed(side_by_side(boxes, -(-len(boxes) // max(1, len(boxes) // max(1, n_lines))))):
        ideals = _around(line, gutter)
        centres = spread(ideals, [box.width for box in line], gutter, low, high)
        lines.append([replace(box, x=x) for box, x in zip(line, centres, strict=True)])
    return lines


def _around(line: list[Box], gutter: float) -> list[float]:
    """Where the boxes would stand if each group at one position were centred over it."""
    whole = {x: sum(box.width + gutter for box in line if box.x == x) for x in {box.x for box in line}}
    done = dict.fromkeys(whole, 0.0)
    ideals = []
    for box in line:
        ideals.append(box.x - (whole[box.x] - gutter) / 2 + done[box.x] + box.width / 2)
        done[box.x] += box.width + gutter
    return ideals


def stacked(
    strips: list[tuple[str, list[list[Box]], bool]], measures: Measures
) -> tuple[dict[int, Box], tuple[tuple[int, ...], ...], tuple[Band, ...], float]:
    """Heights: each line as tall as its tallest box, lines and bands at even distances."""
    boxes: dict[int, Box] = {}
    order: list[tuple[int, ...]] = []
    bands: list[Band] = []
    y, pad = 0.0, measures.band_pad
    for name, lines, is_empty in strips:
        low = y
        if is_empty:
            y += measures.empty_band
        else:
            y += pad if bands else pad / 2
            for line in lines:
                tall = max(box.height for box in line)
                boxes.update({box.node: replace(box, y=y + tall / 2) for box in line})
                order.append(tuple(box.node for box in sorted(line, key=lambda box: box.x)))
                y += tall + measures.line_gap
            y += (pad if bands else measures.token_pad) - measures.line_gap
        bands.append(Band(name, low, y, is_empty))
    return boxes, tuple(order), tuple(bands), y - pad / 2
