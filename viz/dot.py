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
from viz.grid import CAPTION_SIZE, FONT_SIZE, Box
from viz.kept import as_circuit
from viz.merged import merge
from viz.picture import Picture
from viz.placement import Plan, place
from viz.routing import EDGE_WIDTH, Route, crowding, route
from viz.text import text_width, visible, wrap

__all__ = ["graphviz"]

# A list of families: the PostScript name alone is drawn in a wider font on many systems.
FONT = "Helvetica,Arial,sans-serif"
POSITIVE, NEGATIVE = "#0072B2", "#D55E00"
FEATURE_TINT, TARGET_TINT, TOKEN_FILL = "#E69F00", "#009E73", "#E3E7EA"
INK, GREY, PALE, GUIDE = "#222222", "#777777", "#F5F5F5", "#DDDDDD"
FEATURE_LOOK = {"style": "filled,rounded", "color": "#555555"}
SUPERNODE_LOOK = {"penwidth": "2.4", "color": "#222222"}
ERROR_LOOK = {"style": "filled,dashed", "color": "#999999", "fillcolor": "#F0F0F0", "penwidth": "0.6"}
TOKEN_LOOK = {"color": TOKEN_FILL, "fillcolor": TOKEN_FILL}
TITLE_SIZE, SMALL_SIZE, LEGEND_SIZE = 13.0, 8.0, 8.5
LEGEND_LINE = 16.0
MIN_WIDTH = 330.0
BOLDER = 1.1  # bold type is wider
WIDER = 1.06  # small type is wider than its measure, since letters are set on whole pixels


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
    return Picture(_Drawing(circuit, part, plan, {} if merged is None else merged.stories).source(title))


class _Drawing:
    """Writes one plan as DOT; used once."""

    def __init__(self, circuit: Circuit, part: Excerpt, plan: Plan, stories: Mapping[int, str]):
        self.circuit, self.part, self.plan, self.stories = circuit, part, plan, stories
        self.width = max(plan.width, MIN_WIDTH)
        features = [node for node in part.nodes if node < circuit.graph.layout.n_features]
        self.max_influence = max((float(circuit.node_influence[node]) for node in features), default=0.0)
        self.dot = gv.Digraph("circuit", comment="fixed coordinates: draw with neato -n2 -Tsvg", engine="neato")

    def source(self, title: str | None) -> str:
        size = TITLE_SIZE * BOLDER
        heading = visible(title) if title is not None else prompt_title(self.circuit.graph, size, 1.9 * self.width)
        lines = wrap(heading, size, self.width, 2)
        top = self.plan.height + 6 + len(lines) * (TITLE_SIZE + 3)
        small = wrap(small_print(self.circuit, self.part), SMALL_SIZE * WIDER, self.width - 4, 8)
        for node in self.part.nodes:
            self._node(self.plan.boxes[node])
        for way in route(self.plan, self.part.edges):
            self._edge(way)
        y = self._legend(-6.0)
        bottom = y - len(small) * SMALL_SIZE * 1.2
        self._text("small_print", 0, (y + bottom) / 2, small, SMALL_SIZE, GREY)
        self._title(lines, (self.plan.height + top) / 2)
        self._names()
        self._frame()
        return self.dot.source

    def _frame(self) -> None:
        """Defaults, and what lies behind everything."""
        frame = gv.Digraph()
        frame.attr("graph", layout="neato", pad="0.1", bgcolor="white", outputorder="edgesfirst")
        frame.attr("graph", _background=self._background())
        text = {"fontname": FONT, "fontsize": f"{FONT_SIZE:g}", "fontcolor": INK}
        frame.attr("node", shape="box", style="filled", fixedsize="true", margin="0", penwidth="0.8", **text)
        self.dot.body[:0] = frame.body

    def _background(self) -> str:
        """Strips of the layers and lines between the columns, in xdot's drawing language."""
        parts = [f"c 7 -{PALE} C 7 -{PALE}"]
        right = f"{self.width:.2f}"
        for band in self.plan.bands[::2]:
            low, high = f"{band.low:.2f}", f"{band.high:.2f}"
            parts.append(f"P 4 0 {low} {right} {low} {right} {high} 0 {high}")
        parts.append(f"c 7 -{GUIDE} S 6 -dotted")
        low, high = f"{self.plan.bands[0].low:.2f}", f"{self.plan.bands[-1].low:.2f}"
        parts += [f"L 2 {column.low:.2f} {low} {column.low:.2f} {high}" for column in self.plan.columns]
        return " ".join(parts)

    def _title(self, lines: tuple[str, ...], y: float) -> None:
        """Bold text; a table is the only label that Graphviz sets in bold and to the left in every format."""
        high = len(lines) * (TITLE_SIZE + 3)
        text = '<BR ALIGN="LEFT"/>'.join(_html(line) for line in lines)
        size = f'FIXEDSIZE="TRUE" WIDTH="{self.width:.0f}" HEIGHT="{high:.0f}"'
        look = 'BORDER="0" CELLBORDER="0" CELLPADDING="0" CELLSPACING="0"'
        cell = f'<TD ALIGN="LEFT" BALIGN="LEFT"><FONT POINT-SIZE="{TITLE_SIZE:g}"><B>{text}</B></FONT></TD>'
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
            self._text(f"band_{i}", 4, (band.low + band.high) / 2, (band.label,), 7 if band.is_empty else 9, GREY)
        y = self.plan.boxes[self.plan.lines[0][0]].y
        for i, column in enumerate(self.plan.columns):
            if column.pos is None:
                self._text(f"hidden_{i}", column.low + 4, y, (column.label,), FONT_SIZE - 1.5, GREY)

    def _node(self, box: Box) -> None:
        look = {
            "feature": {**FEATURE_LOOK, "fillcolor": _tint(FEATURE_TINT, 0.06 + 0.44 * self._darkness(box.node))},
            "error": {**ERROR_LOOK, "fontcolor": GREY},
            "token": TOKEN_LOOK,
            "target": {
                "style": "filled,rounded",
                "fillcolor": _tint(TARGET_TINT, 0.22),
                "color": TARGET_TINT,
                "penwidth": "1.4",
            },
        }[box.kind]
        if box.node in self.part.captions:
            look = look | SUPERNODE_LOOK
        story = _tooltip(self.stories.get(box.node) or node_story(self.circuit, box.node))
        self.dot.node(f"n{box.node}", _label(box), tooltip=story, **_at(box.x, box.y, box.width, box.height), **look)

    def _darkness(self, node: int) -> float:
        return float(self.circuit.node_influence[node] / self.max_influence) if self.max_influence > 0 else 0.0

    def _edge(self, way: Route) -> None:
        points = " ".join(f"{x:.2f},{y:.2f}" for x, y in way.points)
        self.dot.edge(
            f"n{way.edge.source}",
            f"n{way.edge.target}",
            pos=f"e,{way.tip[0]:.2f},{way.tip[1]:.2f} {points}",
            tooltip=_tooltip(edge_story(self.circuit, way.edge)),
            **_edge_look(way.edge.weight, way.edge.strength),
        )

    def _legend(self, top: float) -> float:
        """What shapes and lines mean, on as many lines as it takes; returns where it ends."""
        strongest = max((edge.influence for edge in self.part.edges), default=0.0)
        has_errors = any(self.plan.boxes[node].kind == "error" for node in self.part.nodes)
        has_supernodes = any(node in self.part.captions for node in self.part.nodes)
        samples: list[tuple[str, dict[str, str] | tuple[float, float]]] = [
            ("token", TOKEN_LOOK),
            ("feature, darker with influence", {**FEATURE_LOOK, "fillcolor": _tint(FEATURE_TINT, 0.3)}),
            *([("supernode", {**FEATURE_LOOK, **SUPERNODE_LOOK, "fillcolor": "white"})] if has_supernodes else []),
            *([("error (MLP output not explained)", ERROR_LOOK)] if has_errors else []),
            ("raises", (1.0, 0.8)),
            ("lowers", (-1.0, 0.8)),
            (f"width: share of the influence, up to {strongest:.0%}", (1.0, 0.2)),
        ]
        x, y = 4.0, top - LEGEND_LINE / 2
        for i, (text, sample) in enumerate(samples):
            wide = 40 + text_width(text, LEGEND_SIZE) * WIDER
            if x > 4.0 and x + wide > self.width:
                x, y = 4.0, y - LEGEND_LINE
            self._sample(f"legend_{i}", x, y, sample)
            self._text(f"legend_text_{i}", x + (31 if isinstance(sample, tuple) else 25), y, (text,), LEGEND_SIZE, GREY)
            x += wide + 8
        return y - LEGEND_LINE * 0.75

    def _sample(self, name: str, x: float, y: float, sample: dict[str, str] | tuple[float, float]) -> None:
        if isinstance(sample, dict):
            self.dot.node(name, "", tooltip=" ", **_at(x + 11, y, 20, 10), **sample)
            return
        for end, at in (("from", x), ("to", x + 23)):
            self.dot.node(f"{name}_{end}", "", shape="point", style="invis", **_at(at, y, 1, 1))
        line = f"e,{x + 23:.2f},{y:.2f} " + " ".join(f"{x + dx:.2f},{y:.2f}" for dx in (0, 6, 12, 17.5))
        self.dot.edge(f"{name}_from", f"{name}_to", pos=line, tooltip=" ", **_edge_look(*sample))


def _edge_look(weight: float, strength: float) -> dict[str, str]:
    colour = POSITIVE if weight >= 0 else NEGATIVE
    return {
        "color": f"{colour}{round(255 * (0.28 + 0.67 * strength)):02X}",
        "penwidth": f"{0.5 + EDGE_WIDTH * strength:.2f}",
        "style": "solid" if weight >= 0 else "dashed",
        "arrowsize": f"{0.35 + 0.25 * strength:.2f}",
    }


def _label(box: Box) -> str:
    """An HTML-like label: the text, and below it a caption in small type."""
    size = 7.0 if box.kind == "error" else FONT_SIZE
    text = "<BR/>".join(_html(line) for line in box.lines)
    label = f'<FONT POINT-SIZE="{size:g}">{f"<B>{text}</B>" if box.kind == "target" else text}</FONT>'
    if box.caption:
        small = CAPTION_SIZE if box.kind == "feature" else LEGEND_SIZE
        label += f'<BR/><FONT POINT-SIZE="{small:g}" COLOR="#555555">{_html(box.caption)}</FONT>'
    return f"<{label}>"


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


def _tint(colour: str, strength: float) -> str:
    """The colour mixed with white: 0 is white, 1 the colour itself."""
    channels = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 + (channel - 255) * strength):02X}" for channel in channels)
