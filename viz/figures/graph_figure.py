"""A circuit as a figure for a page: what `viz.graphviz` draws, laid out anew for a width and scaled to it exactly."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from circuits.graph import Graph
from circuits.pruning import Circuit
from circuits.supernodes.grouped import GroupedCircuit
from replacement_model.errors import InputError
from viz.dot import PAD, Drawing
from viz.excerpt import Excerpt, excerpt, excerpt_of
from viz.figures.arranged import arrange
from viz.figures.packed import pack
from viz.figures.style import COLUMN, PNG_DPI, Font, portable_svg
from viz.kept import as_circuit
from viz.legend import legend, placed
from viz.measures import PAPER, Measures
from viz.merged import merge
from viz.picture import Picture
from viz.placement import Plan, place
from viz.routing import crowding
from viz.text import text_width, visible

__all__ = ["GraphFigure", "graph_figure", "pinned_figure"]

LARGE_ENOUGH = 7.0  # points: type need not be larger, if that makes a figure lower
PACKED_SIZES = (7.0, 6.5, 6.0, 5.5, 5.0, 4.5, 4.0, 3.5, 3.0)
LARGEST = 8.0  # points: no text of a box is larger, so a small circuit is narrower than the page
READABLE = 5.0  # points
TALLEST = 8.75  # inches: a page
EDGES_PER_NODE = 1.25
LABEL_WIDTHS = (46.0, 56.0, 68.0, 84.0)
WORD_ENDS = re.compile(r"(?<=[-/,;:|_→ ])")  # where viz.text.wrap breaks lines
ASPECTS = (0.45, 0.8, 1.3, 2.1)
FAMILIES: Mapping[Font, str] = {
    "sans": "Helvetica,Arial,Liberation Sans,sans-serif",
    "serif": "Times New Roman,Times,Liberation Serif,serif",
}


@dataclass(frozen=True, slots=True)
class GraphFigure:
    """A circuit laid out for a page.

    Attributes:
        source: the circuit that it is of.
        circuit, part, plan, stories: what of it is drawn, with supernodes as one node, and where, before it is scaled.
        measures: lengths before it is scaled.
        scale: what they are multiplied with.
        font: `sans` or `serif`.
        title: text above the picture, empty for none; the prompt and its first target when None.
    """

    source: Circuit
    circuit: Circuit
    part: Excerpt
    plan: Plan
    stories: Mapping[int, str]
    measures: Measures
    scale: float
    font: Font
    title: str | None

    @property
    def width(self) -> float:
        """Inches, its margin included."""
        return _full_width(self.plan, self.measures) * self.scale / 72

    @property
    def smallest_type(self) -> float:
        """Points; below 5 it can hardly be read in print."""
        return self.measures.smallest * self.scale

    @property
    def has_columns(self) -> bool:
        """Whether every position is a column; where there is no room for that, boxes name their token."""
        return any(column.pos is not None for column in self.plan.columns)

    @property
    def is_readable(self) -> bool:
        return self.smallest_type >= READABLE

    def picture(self) -> Picture:
        """As SVG, PDF, PNG (at 300 dpi) or DOT."""
        family = FAMILIES[self.font]
        drawing = Drawing(self.circuit, self.part, self.plan, self.stories, self.measures, family, self.scale)
        return Picture(drawing.source(self.title), dpi=PNG_DPI)

    def drawn(self, file_format: str) -> bytes:
        """`picture()` as `svg`, `pdf`, `png` or `dot`; lines of an SVG keep their length in any font.

        Raises:
            InputError: another format.
            MissingDependencyError: Graphviz is not installed, or was built without this format.
        """
        data = self.picture().pipe(file_format)
        if file_format != "svg":
            return data
        # Graphviz rounds the scale to two digits, by which the picture would miss its frame.
        exact = f"scale({self.scale:.6f} {self.scale:.6f})".encode()
        return portable_svg(re.sub(rb"scale\([\d.]+ [\d.]+\)", exact, data, count=1), self.font)


def graph_figure(
    graph: Graph | Circuit | GroupedCircuit,
    *,
    width: float = COLUMN,
    font: Font = "sans",
    max_nodes: int = 40,
    max_edges: int | None = None,
    title: str | None = None,
) -> GraphFigure:
    """Lay out a circuit, or its supernodes, for a width.

    Tokens without nodes and with little influence are left out. Of many arrangements, with labels broken in shorter or
    longer lines and nodes in more or fewer sub-columns, that with the largest type is taken that is not higher than a
    page; of those with type of 7 points, the lowest. Where none has type of 5 points, boxes are not held in columns
    (`viz.figures.packed`).

    Args:
        graph: a circuit; of a graph, the most influential part is drawn.
        width: inches; the figure is as wide, or narrower if its type would be larger than 8 points.
        font: `sans` or `serif`.
        max_nodes: most features, errors and supernodes to draw.
        max_edges: most edges to draw, about; five for each four of them and of the targets when None.
        title: text above the picture, empty for none; the prompt and its first target when None.

    Raises:
        InputError: a width of 1 inch or less, `max_nodes` or `max_edges` below 1.

    Example:
        Path("dallas.pdf").write_bytes(graph_figure(circuit, width=COLUMN).drawn("pdf"))
    """
    _check(width, max_nodes, max_edges)
    merged = merge(graph) if isinstance(graph, GroupedCircuit) else None
    circuit = as_circuit(graph) if merged is None else merged.circuit
    count = min(max_nodes, int(circuit.node_mask[: circuit.graph.layout.token_nodes.start].sum()))
    n_edges = max_edges or max(12, round(EDGES_PER_NODE * (count + circuit.graph.layout.n_targets)))
    if merged is None:
        part = excerpt(circuit, max_nodes, n_edges, has_every_token=False)
    else:
        part = merged.excerpt(max_nodes, n_edges, has_every_token=False)
    plan, measures, scale = _best(circuit.graph, part, width)
    stories = {} if merged is None else merged.stories
    return GraphFigure(as_circuit(graph), circuit, part, plan, stories, measures, scale, font, title)


def pinned_figure(
    graph: Graph | Circuit,
    nodes: Sequence[int],
    *,
    width: float = COLUMN,
    font: Font = "sans",
    max_edges: int | None = None,
    title: str | None = None,
    places: Mapping[int, tuple[float, float]] | None = None,
) -> GraphFigure:
    """Lay out chosen nodes and the direct edges between them in the unpruned graph.

    Args:
        graph: where they are.
        nodes: numbers as in `Layout`; the first target is added where none is among them, and so are the tokens below.
        width, font, title: as for `graph_figure`.
        max_edges: most edges, the strongest; those that carry a thousandth of the influence when None.
        places: where nodes were put, as shares of width and height from the upper left; then no others are added, and
            those without a place stand in the line of their layer.

    Raises:
        InputError: no nodes, one that the graph does not have, or what `graph_figure` refuses.

    Example:
        Path("chosen.svg").write_bytes(pinned_figure(circuit, [0, 3, 5]).drawn("svg"))
    """
    _check(width, 1, max_edges)
    circuit = as_circuit(graph)
    wrong = [node for node in nodes if not 0 <= node < circuit.graph.layout.n_nodes]
    if wrong or not nodes:
        advice = f"choose some of 0 to {circuit.graph.layout.n_nodes - 1}, and at least one"
        raise InputError(f"expected nodes of the graph, got {list(wrong)}; {advice}")
    whole = replace(circuit, edges=circuit.graph.adjacency)
    part = excerpt_of(whole, nodes, max_edges, has_columns=not places)
    if places:
        plan, measures, scale = _arranged(circuit.graph, part, width, places)
    else:
        plan, measures, scale = _best(circuit.graph, part, width)
    return GraphFigure(circuit, circuit, part, plan, {}, measures, scale, font, title)


def _check(width: float, max_nodes: int, max_edges: int | None) -> None:
    if not width >= 1 or max_nodes < 1 or (max_edges is not None and max_edges < 1):
        got = f"{width:g}, {max_nodes} and {max_edges}"
        raise InputError(f"expected a width of 1 inch or more, and at least 1 node and edge, got {got}; raise them")


def _best(graph: Graph, part: Excerpt, width: float) -> tuple[Plan, Measures, float]:
    """Columns if their type is large enough; else lines that are filled."""

    def rank(found: tuple[Plan, Measures, float]) -> tuple[bool, float, float]:
        plan, measures, scale = found
        height = (plan.height + _frame_height(part, plan, measures)) * scale / 72
        return height <= TALLEST, min(measures.font_size * scale, LARGE_ENOUGH), -height

    best = max(_in_columns(graph, part, width), key=rank)
    for size in PACKED_SIZES:
        if rank(best)[:2] >= (True, READABLE):
            return best
        best = max([best, *_packed(graph, part, width, size)], key=rank)
    return best


def _label_widths(graph: Graph, part: Excerpt) -> tuple[float, ...]:
    """Widths of lines that break no word, or the two largest."""
    attributes = [graph.node_attributes(node) for node in part.nodes]
    words = {word for one in attributes if one["kind"] != "error" for word in WORD_ENDS.split(visible(one["label"]))}
    longest = max((text_width(word.strip(), PAPER.font_size) for word in words), default=0.0)
    return tuple(width for width in LABEL_WIDTHS if width >= longest) or LABEL_WIDTHS[-2:]


def _in_columns(graph: Graph, part: Excerpt, width: float) -> Iterator[tuple[Plan, Measures, float]]:
    seen = set()
    for label_width, aspect in product(_label_widths(graph, part), ASPECTS):
        measures = replace(PAPER, label_width=label_width, aspect=aspect)
        rough = place(graph, part, {}, measures)
        shape = (label_width, rough.width, rough.height)
        if shape in seen:
            continue
        seen.add(shape)
        plan = place(graph, part, crowding(rough, part.edges), measures)
        yield plan, measures, min(72 * width / _full_width(plan, measures), LARGEST / measures.font_size)


def _packed(graph: Graph, part: Excerpt, width: float, size: float) -> Iterator[tuple[Plan, Measures, float]]:
    for label_width in _label_widths(graph, part):
        measures = replace(PAPER, label_width=label_width)
        scale = min(size / measures.font_size, 72 * width / (measures.min_width + 2 * PAD))
        yield pack(graph, part, measures, 72 * width / scale - 2 * PAD), measures, scale


def _arranged(
    graph: Graph, part: Excerpt, width: float, places: Mapping[int, tuple[float, float]]
) -> tuple[Plan, Measures, float]:
    """The largest type with which boxes stand apart where they were put; else the smallest that can be read."""
    for size in (LARGE_ENOUGH, *PACKED_SIZES):
        measures = replace(PAPER, label_width=_label_widths(graph, part)[-1])
        scale = min(size / measures.font_size, 72 * width / (measures.min_width + 2 * PAD))
        plan, is_apart = arrange(graph, part, measures, 72 * width / scale - 2 * PAD, places)
        if size <= READABLE or (is_apart and plan.height * scale / 72 <= TALLEST):
            break
    return plan, measures, scale


def _full_width(plan: Plan, measures: Measures) -> float:
    return max(plan.width, measures.min_width) + 2 * PAD


def _frame_height(part: Excerpt, plan: Plan, measures: Measures) -> float:
    """Of the title and the legend, about."""
    wide = max(plan.width, measures.min_width)
    return 2 * measures.title_size + 16.0 * (placed(legend(part, plan, True), wide, measures)[-1].line + 2)
