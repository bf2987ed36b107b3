"""The picture of a circuit as DOT with fixed coordinates: `neato -n2` draws exactly what was planned here.

Sign is shown twice, by colour and by line style, so that it survives grey-scale printing and colour blindness (the
palette of Okabe and Ito); strength is shown by width and opacity.
"""

import html
from collections.abc import Mapping

import graphviz as gv

from circuits.graph import Graph
from circuits.pruning import Circuit
from circuits.supernodes.grouped import GroupedCircuit
from replacement_model.errors import InputError
from viz.captions import edge_story, node_story, prompt_title, small_print
from viz.excerpt import Excerpt, excerpt
from viz.grid import Box
from viz.kept import as_circuit
from viz.legend import WIDER, PlacedSample, legend, placed
from viz.measures import SCREEN, Measures
from viz.merged import merge
from viz.picture import Picture
from viz.placement import Plan, place
from viz.routing import EDGE_WIDTH, Route, crowding, route
from viz.text import text_width, visible, wrap

__all__ = ["Drawing", "edge_opacity", "graphviz", "tint"]

# A list of families: the PostScript name alone is drawn in a wider font on many systems.
FONT = "Helvetica,Arial,sans-serif"
POSITIVE, NEGATIVE = "#0072B2", "#D55E00"
FEATURE_TINT, TARGET_TINT, TOKEN_FILL = "#E69F00", "#009E73", "#E3E7EA"
PAGE_TOKEN_FILL = "#CED5DB"  # a step darker, for print
INK, GREY, PALE, GUIDE = "#222222", "#777777", "#F5F5F5", "#DDDDDD"
FEATURE_LOOK = {"style": "filled,rounded", "color": "#555555"}
SUPERNODE_LOOK = {"penwidth": "2.4", "color": "#222222"}
ERROR_LOOK = {"style": "filled,dashed", "color": "#999999", "fillcolor": "#F0F0F0", "penwidth": "0.6"}
SMALL_SIZE = 8.0
LEGEND_LINE = 16.0
BOLDER = 1.1  # bold type is wider
PAD = 7.2  # around a picture, 0.1 inches


def graphviz(
    graph: Graph | Circuit | GroupedCircuit,
    *,
    max_nodes: int = 30,
    max_edges: int | None = None,
    title: str | None = None,
) -> Picture:
    """Draw a circuit: tokens along the bottom, layers upward, targets on top, positions as columns.

    More than a few dozen nodes cannot be read: the features and errors with the most influence are drawn, and
    the picture says how many are left out and which share of the influence is shown; likewise for edges.

    Args:
        graph: a circuit; of a graph, the most influential part is drawn. Supernodes of a grouped circuit are drawn as
            one box each, with a heavy border.
        max_nodes: most features and errors to draw.
        max_edges: most edges to draw, about; twice as many as features, errors and targets when None.
        title: text above the picture; the prompt and its first target when None.

    Returns:
        A picture with `.source` (DOT), `.render("name", format="svg")` and `.pipe("png")`; notebooks show it by itself.

    Raises:
        InputError: `max_nodes` or `max_edges` below 1.

    Example:
        viz.graphviz(circuit).render("dallas", format="svg")  # writes dallas.dot and dallas.svg

    See Ameisen et al. 2025, "Circuit Tracing", section on attribution graphs.
    """
    if max_nodes < 1 or (max_edges is not None and max_edges < 1):
        raise InputError(f"expected max_nodes and max_edges of at least 1, got {max_nodes} and {max_edges}; raise them")
    merged = merge(graph) if isinstance(graph, GroupedCircuit) else None
    circuit = as_circuit(graph) if merged is None else merged.circuit
    part = excerpt(circuit, max_nodes, max_edges) if merged is None else merged.excerpt(max_nodes, max_edges)
    # Edges are routed twice: the first time tells how wide the gutters between the boxes must be.
    plan = place(circuit.graph, part, crowding(place(circuit.graph, part, {}), part.edges))
    return Picture(Drawing(circuit, part, plan, {} if merged is None else merged.stories).source(title))


class Drawing:
    """Writes one plan as DOT; used once.

    Args:
        circuit, part, plan: what is drawn, and where.
        stories: what nodes say when they are pointed at, where it is not `node_story`.
        measures: those of the plan.
        font: families, the best first.
        scale: 1 is the size of a screen; another makes a figure for a page, without the small print.
    """

    def __init__(
        self,
        circuit: Circuit,
        part: Excerpt,
        plan: Plan,
        stories: Mapping[int, str],
        measures: Measures = SCREEN,
        font: str = FONT,
        scale: float | None = None,
    ):
        self.circuit, self.part, self.plan, self.stories = circuit, part, plan, stories
        self.measures, self.font, self.scale = measures, font, scale
        fill = TOKEN_FILL if scale is None else PAGE_TOKEN_FILL
        self.token_look = {"color": fill, "fillcolor": fill}
        self.width = max(plan.width, measures.min_width)
        features = [node for node in part.nodes if node < circuit.graph.layout.n_features]
        self.max_influence = max((float(circuit.node_influence[node]) for node in features), default=0.0)
        self.dot = gv.Digraph("circuit", comment="fixed coordinates: draw with neato -n2 -Tsvg", engine="neato")

    def source(self, title: str | None) -> str:
        line_height = self.measures.title_size + 3
        lines = self._title_lines(title)
        top = self.plan.height + 6 + len(lines) * line_height
        for node in self.part.nodes:
            self._node(self.plan.boxes[node])
        for way in route(self.plan, self.part.edges):
            self._edge(way)
        bottom = self._legend(-6.0)
        if self.scale is None:
            self._small_print(bottom)
        if lines:
            self._title(lines, (self.plan.height + top) / 2)
        self._names()
        self._frame()
        return self.dot.source

    def _title_lines(self, title: str | None) -> tuple[str, ...]:
        size = self.measures.title_size * BOLDER
        graph, room = self.circuit.graph, 1.9 * self.width
        heading = visible(title) if title is not None else prompt_title(graph, size, room, self.scale is None)
        return wrap(heading, size, self.width, 2) if heading else ()

    def _small_print(self, y: float) -> None:
        small = wrap(small_print(self.circuit, self.part), SMALL_SIZE * WIDER, self.width - 4, 8)
        self._text("small_print", 0, y - len(small) * SMALL_SIZE * 0.6, small, SMALL_SIZE, GREY)

    def _frame(self) -> None:
        """Defaults, and what lies behind everything."""
        frame = gv.Digraph()
        frame.attr("graph", layout="neato", pad=f"{PAD / 72:g}", bgcolor="white", outputorder="edgesfirst")
        if self.scale is not None:
            wide = (self.width + 2 * PAD) * self.scale / 72
            frame.attr("graph", size=f"{wide:.4f},100", margin="0")  # a PDF has half an inch else
        frame.attr("graph", _background=self._background())
        text = {"fontname": self.font, "fontsize": f"{self.measures.font_size:g}", "fontcolor": INK}
        frame.attr("node", shape="box", style="filled", fixedsize="true", margin="0", penwidth="0.8", **text)
        self.dot.body[:0] = frame.body

    def _background(self) -> str:
        """Strips of the layers and lines between the columns, in xdot's drawing language."""
        parts = [f"c 7 -{PALE} C 7 -{PALE}"]
        right = f"{self.width:.2f}"
        for band in (band for band in self.plan.bands[::2] if band.high > band.low):
            low, high = f"{band.low:.2f}", f"{band.high:.2f}"
            parts.append(f"P 4 0 {low} {right} {low} {right} {high} 0 {high}")
        parts.append(f"c 7 -{GUIDE} S 6 -dotted")
        low, high = f"{self.plan.bands[0].low:.2f}", f"{self.plan.bands[-1].low:.2f}"
        guides = self.plan.columns if len(self.plan.columns) > 1 else ()
        parts += [f"L 2 {column.low:.2f} {low} {column.low:.2f} {high}" for column in guides]
        return " ".join(parts)

    def _title(self, lines: tuple[str, ...], y: float) -> None:
        """Bold text; a table is the only label that Graphviz sets in bold and to the left in every format."""
        high = len(lines) * (self.measures.title_size + 3)
        text = '<BR ALIGN="LEFT"/>'.join(_html(line) for line in lines)
        size = f'FIXEDSIZE="TRUE" WIDTH="{self.width:.0f}" HEIGHT="{high:.0f}"'
        look = 'BORDER="0" CELLBORDER="0" CELLPADDING="0" CELLSPACING="0"'
        cell = (
            f'<TD ALIGN="LEFT" BALIGN="LEFT"><FONT POINT-SIZE="{self.measures.title_size:g}"><B>{text}</B></FONT></TD>'
        )
        self._plain("title", f"<<TABLE {look} {size}><TR>{cell}</TR></TABLE>>", self.width / 2, y, self.width, high)

    def _text(self, name: str, left: float, y: float, lines: tuple[str, ...], size: float, colour: str) -> None:
        """Left-aligned text without a box."""
        wide = max(text_width(line, size) for line in lines) * WIDER + 4
        label = gv.nohtml("".join(_escaped(line) + "\\l" for line in lines))
        look = {"fontsize": f"{size:g}", "fontcolor": colour}
        self._plain(name, label, left + wide / 2, y, wide, len(lines) * size * 1.2, **look)

    def _plain(self, name: str, label: str, x: float, y: float, width: float, height: float, **look: str) -> None:
        self.dot.node(name, label, shape="plaintext", style="", tooltip=" ", **_at(x, y, width, height), **look)

    def _names(self) -> None:
        """Names of the layers at the left, and how many tokens are left out between those at the bottom."""
        for i, band in enumerate(self.plan.bands):
            if not band.label:
                continue
            size = self.measures.empty_name_size if band.is_empty else self.measures.name_size
            self._text(f"band_{i}", 4, (band.low + band.high) / 2, (band.label,), size, GREY)
        y = self.plan.boxes[self.plan.lines[0][0]].y
        for i, column in enumerate(self.plan.columns):
            if column.label:
                self._text(f"hidden_{i}", column.low + 4, y, (column.label,), self.measures.font_size - 1.5, GREY)

    def _node(self, box: Box) -> None:
        look = {
            "feature": {**FEATURE_LOOK, "fillcolor": tint(FEATURE_TINT, self.feature_tint(box.node))},
            "error": {**ERROR_LOOK, "fontcolor": GREY},
            "token": self.token_look,
            "target": {
                "style": "filled,rounded",
                "fillcolor": tint(TARGET_TINT, 0.22),
                "color": TARGET_TINT,
                "penwidth": "1.4",
            },
        }[box.kind]
        if box.node in self.part.captions:
            look = look | SUPERNODE_LOOK
        story = _tooltip(self.stories.get(box.node) or node_story(self.circuit, box.node))
        self.dot.node(
            f"n{box.node}", self._label(box), tooltip=story, **_at(box.x, box.y, box.width, box.height), **look
        )

    def feature_tint(self, node: int) -> float:
        """How much colour a feature's box has: more with its influence."""
        share = float(self.circuit.node_influence[node] / self.max_influence) if self.max_influence > 0 else 0.0
        return 0.06 + 0.44 * share

    def _edge(self, way: Route) -> None:
        points = " ".join(f"{x:.2f},{y:.2f}" for x, y in way.points)
        self.dot.edge(
            f"n{way.edge.source}",
            f"n{way.edge.target}",
            pos=f"e,{way.tip[0]:.2f},{way.tip[1]:.2f} {points}",
            tooltip=_tooltip(edge_story(self.circuit, way.edge)),
            **self._edge_look(way.edge.weight, way.edge.strength),
        )

    def _legend(self, top: float) -> float:
        """What shapes and lines mean; returns where it ends."""
        entries = placed(legend(self.part, self.plan, self.scale is not None), self.width, self.measures)
        for i, entry in enumerate(entries):
            y = top - LEGEND_LINE * (entry.line + 0.5)
            self._sample(f"legend_{i}", entry, y)
            text = (entry.sample.text,)
            self._text(f"legend_text_{i}", entry.text_x, y, text, self.measures.legend_size, GREY)
        return top - LEGEND_LINE * (entries[-1].line + 1.25)

    def _sample(self, name: str, entry: PlacedSample, y: float) -> None:
        x, line = entry.x, entry.sample.line
        if line is None:
            look = {
                "token": self.token_look,
                "feature": {**FEATURE_LOOK, "fillcolor": tint(FEATURE_TINT, 0.3)},
                "supernode": {**FEATURE_LOOK, **SUPERNODE_LOOK, "fillcolor": "white"},
                "error": ERROR_LOOK,
            }[entry.sample.kind]
            self.dot.node(name, "", tooltip=" ", **_at(x + 11, y, 20, 10), **look)
            return
        for end, at in (("from", x), ("to", x + 23)):
            self.dot.node(f"{name}_{end}", "", shape="point", style="invis", **_at(at, y, 1, 1))
        way = f"e,{x + 23:.2f},{y:.2f} " + " ".join(f"{x + dx:.2f},{y:.2f}" for dx in (0, 6, 12, 17.5))
        self.dot.edge(f"{name}_from", f"{name}_to", pos=way, tooltip=" ", **self._edge_look(*line))

    def _edge_look(self, weight: float, strength: float) -> dict[str, str]:
        colour = POSITIVE if weight >= 0 else NEGATIVE
        return {
            "color": f"{colour}{round(255 * edge_opacity(strength)):02X}",
            "penwidth": f"{self.measures.thinnest + EDGE_WIDTH * strength:.2f}",
            "style": "solid" if weight >= 0 else "dashed",
            "arrowsize": f"{0.35 + 0.25 * strength:.2f}",
        }

    def _label(self, box: Box) -> str:
        """An HTML-like label: the text, and below it a caption in small type."""
        measures = self.measures
        size = measures.error_font if box.kind == "error" else measures.font_size
        text = "<BR/>".join(_html(line) for line in box.lines)
        label = f'<FONT POINT-SIZE="{size:g}">{f"<B>{text}</B>" if box.kind == "target" else text}</FONT>'
        if box.caption:
            small = measures.caption_size if box.kind == "feature" else measures.target_small[0]
            label += f'<BR/><FONT POINT-SIZE="{small:g}" COLOR="#555555">{_html(box.caption)}</FONT>'
        return f"<{label}>"


def edge_opacity(strength: float) -> float:
    """Strong edges hide weak ones."""
    return 0.28 + 0.67 * strength


def _html(text: str) -> str:
    """Text for an HTML-like label, where Graphviz replaces entities, and then a backslash with its letter."""
    return html.escape(text).replace("\\", "\\\\")


def _escaped(text: str) -> str:
    """Text for a plain label, where Graphviz replaces backslashes and entities."""
    return text.replace("&", "&amp;").replace("\\", "\\\\")


def _tooltip(text: str) -> str:
    """Text for a tooltip, where Graphviz replaces backslashes twice."""
    return gv.nohtml(_escaped(text).replace("\\", "\\\\"))


def _at(x: float, y: float, width: float, height: float) -> dict[str, str]:
    """Position in points and size in inches, as Graphviz wants them."""
    return {"pos": f"{x:.2f},{y:.2f}", "width": f"{width / 72:.4f}", "height": f"{height / 72:.4f}"}


def tint(colour: str, strength: float) -> str:
    """The colour mixed with white: 0 is white, 1 the colour itself."""
    channels = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 + (channel - 255) * strength):02X}" for channel in channels)
