r"""A laid-out circuit as a TikZ picture: the document's own fonts, at the same sizes and places as in the PDF.

Every line of text is shrunk where the document's font would make it wider than its box. Only the package tikz is
needed; without a document around it: `pdflatex "\documentclass{standalone}\usepackage{tikz}\begin{document}
\input{dallas.tex}\end{document}"`.
"""

from collections.abc import Iterator

from viz.captions import maker, prompt_title
from viz.dot import (
    BOLDER,
    FEATURE_TINT,
    GREY,
    GUIDE,
    INK,
    LEGEND_LINE,
    NEGATIVE,
    PAD,
    PAGE_TOKEN_FILL,
    PALE,
    POSITIVE,
    TARGET_TINT,
    Drawing,
    edge_opacity,
    tint,
)
from viz.figures.graph_figure import GraphFigure
from viz.figures.latex import latex
from viz.grid import Box
from viz.legend import WIDER, PlacedSample, legend, placed
from viz.routing import EDGE_WIDTH, Route, route
from viz.text import text_width, visible, wrap

__all__ = ["tikz"]

ARROW_WIDTH, ARROW_LENGTH = 3.2, 5.0
ROUNDED = 6.0


def tikz(figure: GraphFigure) -> str:
    r"""The figure as LaTeX to `\input`.

    Example:
        Path("dallas.tex").write_text(tikz(graph_figure(circuit)))
    """
    return "\n".join(_Picture(figure).lines()) + "\n"


class _Picture:
    """Writes one figure; lengths are those of its plan, which `bp` scales."""

    def __init__(self, figure: GraphFigure):
        self.figure, self.plan, self.measures = figure, figure.plan, figure.measures
        self.width = max(figure.plan.width, figure.measures.min_width)
        self.drawing = Drawing(figure.circuit, figure.part, figure.plan, figure.stories, figure.measures)

    def lines(self) -> Iterator[str]:
        family = r"\sffamily" if self.figure.font == "sans" else r"\rmfamily"
        title = self._title_lines()
        top = self.plan.height + 6 + len(title) * (self.measures.title_size + 3)
        entries = placed(legend(self.figure.part, self.plan, True), self.width, self.measures)
        bottom = -6 - LEGEND_LINE * (entries[-1].line + 1.25)
        yield f"% {' '.join(maker())}. It needs \\usepackage{{tikz}}; include it with \\input."
        yield r"\begingroup"
        # #1: width, #2: text. Wider text is shrunk.
        yield r"\def\orreryfit#1#2{\setbox0\hbox{#2}\ifdim\wd0>#1\resizebox{#1}{!}{\box0}\else\box0\fi}%"
        style = f"every node/.style={{inner sep=0pt,outer sep=0pt,font={family}}}"
        yield rf"\begin{{tikzpicture}}[x=1bp,y=1bp,{style}]"
        yield from (f"\\definecolor{{orrery{name}}}{{HTML}}{{{colour[1:]}}}" for name, colour in _COLOURS.items())
        yield f"\\useasboundingbox {self.at(-PAD, bottom - PAD)} rectangle {self.at(self.width + PAD, top + PAD)};"
        yield from self._background()
        for way in route(self.plan, self.figure.part.edges):
            yield self._edge(way)
        for node in self.figure.part.nodes:
            yield from self._node(self.plan.boxes[node])
        for entry in entries:
            yield from self._sample(entry, -6 - LEGEND_LINE * (entry.line + 0.5))
        for i, line in enumerate(title):
            y = top - (i + 1) * (self.measures.title_size + 3) + 4
            text = self._text(latex(line), self.width, self.measures.title_size, is_bold=True)
            yield f"\\node[anchor=base west,text=orreryink] at (0,{self.bp(y)}) {{{text}}};"
        yield r"\end{tikzpicture}%"
        yield r"\endgroup"

    def bp(self, length: float) -> str:
        """A length as the page has it, in PostScript points."""
        return f"{length * self.figure.scale:.2f}"

    def at(self, x: float, y: float) -> str:
        return f"({self.bp(x)},{self.bp(y)})"

    def _title_lines(self) -> tuple[str, ...]:
        size = self.measures.title_size * BOLDER
        graph, title = self.figure.circuit.graph, self.figure.title
        heading = visible(title) if title is not None else prompt_title(graph, size, 1.9 * self.width, False)
        return wrap(heading, size, self.width, 2) if heading else ()

    def _text(self, text: str, width: float, size: float, is_bold: bool = False) -> str:
        """`text` is LaTeX already."""
        points = size * self.figure.scale
        series = r"\bfseries" if is_bold else ""
        font = rf"\fontsize{{{points:.2f}bp}}{{{1.1 * points:.2f}bp}}\selectfont{series}"
        return rf"{font}\orreryfit{{{self.bp(width)}bp}}{{{text}}}"

    def _background(self) -> Iterator[str]:
        for band in (band for band in self.plan.bands[::2] if band.high > band.low):
            corners = f"(0,{self.bp(band.low)}) rectangle {self.at(self.width, band.high)}"
            yield f"\\fill[orrerypale] {corners};"
        low, high = self.plan.bands[0].low, self.plan.bands[-1].low
        for column in self.plan.columns if len(self.plan.columns) > 1 else ():
            x = self.bp(column.low)
            yield f"\\draw[orreryguide,dotted,line width=0.4bp] ({x},{self.bp(low)}) -- ({x},{self.bp(high)});"
        for band in self.plan.bands:
            if not band.label:
                continue
            text = self._text(latex(band.label), self.measures.left_gutter, self.measures.name_size)
            place = self.at(4, (band.low + band.high) / 2)
            yield f"\\node[anchor=west,text=orrerygrey] at {place} {{{text}}};"
        y = self.plan.boxes[self.plan.lines[0][0]].y
        for column in self.plan.columns:
            if column.label:
                text = self._text(latex(column.label), column.high - column.low, self.measures.font_size)
                yield f"\\node[text=orrerygrey] at {self.at(column.centre, y)} {{{text}}};"

    def _edge(self, way: Route) -> str:
        points = [f"{self.at(x, y)}" for x, y in way.points]
        curve = points[0]
        for i in range(1, len(points), 3):
            curve += f" .. controls {points[i]} and {points[i + 1]} .. {points[i + 2]}"
        return self._line(curve, way.points[-1], way.tip, way.edge.weight, way.edge.strength)

    def _line(
        self, curve: str, end: tuple[float, float], tip: tuple[float, float], weight: float, strength: float
    ) -> str:
        """A curve and its arrow head, from `end` to `tip`."""
        wide = self.measures.thinnest + EDGE_WIDTH * strength
        half = (ARROW_WIDTH + wide) / 2
        colour = "orrerypositive" if weight >= 0 else "orrerynegative"
        dash = "" if weight >= 0 else f",dash pattern=on {self.bp(6)}bp off {self.bp(4)}bp"
        dx, dy = (0.0, half) if tip[0] != end[0] and tip[1] == end[1] else (half, 0.0)
        corners = [(end[0] - dx, end[1] - dy), (end[0] + dx, end[1] + dy), tip]
        head = " -- ".join(f"{self.at(x, y)}" for x, y in corners)
        group = f"transparency group,opacity={edge_opacity(strength):.2f}"
        line = f"\\draw[{colour},line width={self.bp(wide)}bp{dash}] {curve};\\fill[{colour}] {head} -- cycle;"
        return f"\\begin{{scope}}[{group}]{line}\\end{{scope}}"

    def _node(self, box: Box) -> Iterator[str]:
        low = f"{self.at(box.x - box.width / 2, box.y - box.height / 2)}"
        high = f"{self.at(box.x + box.width / 2, box.y + box.height / 2)}"
        yield self._shape(box.kind, low, high, self._fill(box), box.node in self.figure.part.captions)
        size = self.measures.error_font if box.kind == "error" else self.measures.font_size
        lines = [
            (latex(line), size, box.kind == "target", "grey" if box.kind == "error" else "ink") for line in box.lines
        ]
        if box.caption:
            lines.append((latex(box.caption), self.measures.target_small[0], False, "grey"))
        step = self.measures.line_height
        y = box.y + step * (len(lines) - 1) / 2
        for i, (line, points, is_bold, colour) in enumerate(lines):
            text = self._text(line, box.width - 2, points, is_bold)
            # The middle of a line of small letters lies a third of the type above its base.
            place = f"{self.at(box.x, y - i * step - 0.34 * points)}"
            yield f"\\node[anchor=base,text=orrery{colour}] at {place} {{{text}}};"

    def _fill(self, box: Box) -> str:
        if box.kind == "feature":
            return tint(FEATURE_TINT, self.drawing.feature_tint(box.node))
        return {"token": PAGE_TOKEN_FILL, "error": "#F0F0F0", "target": tint(TARGET_TINT, 0.22)}[box.kind]

    def _shape(self, kind: str, low: str, high: str, fill: str, is_supernode: bool) -> str:
        red, green, blue = (int(fill[i : i + 2], 16) for i in (1, 3, 5))
        colour = f"{{rgb,255:red,{red};green,{green};blue,{blue}}}"
        round_ = f"rounded corners={self.bp(ROUNDED)}bp"
        look = {
            "token": f"\\fill[fill={colour}]",
            "feature": f"\\filldraw[fill={colour},draw=orrerygrey,line width={self.bp(0.8)}bp,{round_}]",
            "error": f"\\filldraw[fill={colour},draw=orrerygrey,dashed,line width={self.bp(0.6)}bp]",
            "target": f"\\filldraw[fill={colour},draw=orrerytarget,line width={self.bp(1.4)}bp,{round_}]",
        }[kind]
        if is_supernode:
            look = f"\\filldraw[fill={colour},draw=orreryink,line width={self.bp(2.4)}bp,{round_}]"
        return f"{look} {low} rectangle {high};"

    def _sample(self, entry: PlacedSample, y: float) -> Iterator[str]:
        x, line = entry.x, entry.sample.line
        if line is None:
            low, high = f"{self.at(x + 1, y - 5)}", f"{self.at(x + 21, y + 5)}"
            is_supernode = entry.sample.kind == "supernode"
            kind = "feature" if is_supernode else entry.sample.kind
            fills = {"token": PAGE_TOKEN_FILL, "error": "#F0F0F0", "feature": tint(FEATURE_TINT, 0.3)}
            yield self._shape(kind, low, high, "#FFFFFF" if is_supernode else fills[kind], is_supernode)
        else:
            end, tip = (x + 17.5, y), (x + 23.0, y)
            yield self._line(f"{self.at(x, y)} -- {self.at(end[0], y)}", end, tip, *line)
        size = self.measures.legend_size
        text = self._text(latex(entry.sample.text), text_width(entry.sample.text, size) * WIDER + 4, size)
        place = f"{self.at(entry.text_x, y - 0.34 * size)}"
        yield f"\\node[anchor=base west,text=orrerygrey] at {place} {{{text}}};"


_COLOURS = {
    "positive": POSITIVE,
    "negative": NEGATIVE,
    "target": TARGET_TINT,
    "ink": INK,
    "grey": GREY,
    "pale": PALE,
    "guide": GUIDE,
}
