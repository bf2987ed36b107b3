"""A heat map of attribution: tokens along the bottom, layers upward, darker where more of the influence passes."""

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes

from circuits.graph import Graph
from circuits.pruning import Circuit
from viz.figures.attribution_table import AttributionTable, attribution_table
from viz.figures.style import COLUMN, Font, PaperFigure, new_figure, paper_style, plain
from viz.kept import as_circuit
from viz.text import text_width, visible_token, wrap

__all__ = ["heat_map", "shown_positions"]

LABEL, NUMBER = 6.5, 5.5  # points
LONGEST_LABEL = 48.0
NARROWEST = 8.0  # a column that its token's label fits, upright
SIDES = 62.0  # what the axis at the left and the colour bar at the right take
TALLEST, LOWEST = 13.0, 5.0
FRAME = 46.0
COLOURS = "Blues"  # from white to dark: its order survives grey-scale print
DARK = 0.55


def heat_map(graph: Graph | Circuit, *, width: float = COLUMN, font: Font = "sans") -> PaperFigure:
    """Draw which tokens and layers the targets' influence comes from (see `attribution_table`).

    The lowest row is that of the tokens' embeddings, the next that of all errors; then a row for each layer's features.
    Numbers are per cent. Of a prompt too long for the width the positions with the most influence are drawn.

    Args:
        graph: what to sum up; of a circuit, its unpruned graph.
        width: inches.
        font: `sans` or `serif`.

    Example:
        save_figure(heat_map(circuit), Path("heat.pdf"))
    """
    circuit = as_circuit(graph)
    table, shown = attribution_table(circuit), shown_positions(circuit, width)
    rows = np.vstack([table.tokens, table.errors.sum(axis=0), table.features])[:, shown]
    tall = min(TALLEST, max(LOWEST, 260.0 / len(rows)))
    labels = [wrap(visible_token(circuit.graph.tokens[pos]), LABEL, LONGEST_LABEL, 1)[0] for pos in shown.tolist()]
    wide = (72 * width - SIDES) / len(shown)
    upright = max(text_width(label, LABEL) for label in labels) > wide - 3
    below = max(text_width(label, LABEL) for label in labels) if upright else LABEL
    with paper_style(font):
        figure = new_figure(width, (len(rows) * tall + below + FRAME) / 72)
        axes = figure.subplots()
        image = axes.imshow(rows, cmap=COLOURS, vmin=0.0, aspect="auto", origin="lower", interpolation="nearest")
        _write_numbers(axes, rows, wide, tall)
        _name_rows(axes, table, tall)
        turn = 90 if upright else 0
        axes.set_xticks(range(len(shown)), [plain(label, font) for label in labels], fontsize=LABEL, rotation=turn)
        axes.tick_params(length=0)
        for gap in np.flatnonzero(np.diff(shown) > 1):
            axes.axvline(gap + 0.5, color="#222222", linewidth=0.7, linestyle=(0, (1, 1.5)))
        axes.axhline(1.5, color="#222222", linewidth=0.6)
        axes.spines[:].set_visible(True)
        bar = figure.colorbar(image, ax=axes, pad=0.02, aspect=max(8.0, len(rows) * tall / 6))
        bar.set_label("share of the influence", fontsize=LABEL)
        bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        bar.ax.tick_params(labelsize=LABEL, length=2)
        bar.outline.set_linewidth(0.6)
    return figure


def shown_positions(circuit: Circuit, width: float) -> Int[np.ndarray, "n_shown"]:
    """Positions that a heat map of this width has room for: all, or those with the most influence, in order."""
    influence = attribution_table(circuit).by_position
    room = max(1, int((72 * width - SIDES) / NARROWEST))
    return np.sort(np.argsort(-influence, kind="stable")[:room])


def _write_numbers(axes: Axes, rows: Float[np.ndarray, "n_rows n_shown"], wide: float, tall: float) -> None:
    if wide < text_width("100", NUMBER) + 1 or tall < NUMBER + 1.5:
        return
    darkest = float(rows.max()) or 1.0
    for (row, column), value in np.ndenumerate(rows):
        if value >= 0.005:
            colour = "white" if value > DARK * darkest else "#222222"
            text = axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", color=colour)
            text.set_fontsize(NUMBER)


def _name_rows(axes: Axes, table: AttributionTable, tall: float) -> None:
    step = int(np.ceil((LABEL + 1.5) / tall))
    layers = range(0, len(table.features), step)
    rows = [0, 1, *(layer + 2 for layer in layers)] if step == 1 else [0, *(layer + 2 for layer in layers if layer)]
    names = {0: "tokens", 1: "errors"}
    axes.set_yticks(rows, [names.get(row, f"{'layer ' if row == rows[-1] else ''}{row - 2}") for row in rows])
    axes.tick_params(axis="y", labelsize=LABEL)
