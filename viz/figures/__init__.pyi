from .attribution_table import AttributionTable, attribution_table
from .caption import Caption, curve_caption, graph_caption, heat_map_caption, intervention_caption
from .graph_figure import GraphFigure, graph_figure, pinned_figure
from .heat_map import heat_map
from .influence_curve import CircuitSizes, circuit_sizes, influence_curve
from .intervention_bars import intervention_bars
from .latex import latex
from .style import COLUMN, TEXT, figure_bytes, new_figure, paper_style, plain, save_figure
from .tikz import tikz

__all__ = [
    "COLUMN",
    "TEXT",
    "AttributionTable",
    "Caption",
    "CircuitSizes",
    "GraphFigure",
    "attribution_table",
    "circuit_sizes",
    "curve_caption",
    "figure_bytes",
    "graph_caption",
    "graph_figure",
    "heat_map",
    "heat_map_caption",
    "influence_curve",
    "intervention_bars",
    "intervention_caption",
    "latex",
    "new_figure",
    "paper_style",
    "pinned_figure",
    "plain",
    "save_figure",
    "tikz",
]
