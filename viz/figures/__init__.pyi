from .attribution_table import AttributionTable, attribution_table
from .heat_map import heat_map
from .influence_curve import CircuitSizes, circuit_sizes, influence_curve
from .intervention_bars import intervention_bars
from .style import COLUMN, TEXT, figure_bytes, new_figure, paper_style, plain, save_figure

__all__ = [
    "COLUMN",
    "TEXT",
    "AttributionTable",
    "CircuitSizes",
    "attribution_table",
    "circuit_sizes",
    "figure_bytes",
    "heat_map",
    "influence_curve",
    "intervention_bars",
    "new_figure",
    "paper_style",
    "plain",
    "save_figure",
]
