"""How much of a graph a circuit of n nodes holds: cumulative influence and scores against the number of nodes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib.ticker import PercentFormatter

from circuits.graph import Graph
from circuits.pruning import Circuit, prune
from viz.figures.style import COLUMN, Font, PaperFigure, new_figure, paper_style
from viz.kept import as_circuit

__all__ = ["CircuitSizes", "circuit_sizes", "influence_curve"]

STEPS = 24
MANY = 60  # from so many nodes on, their number is drawn on a logarithmic axis


@dataclass(frozen=True, slots=True)
class CircuitSizes:
    """What circuits of growing size hold; nodes are features and errors, since tokens are never pruned.

    Attributes:
        influence: of all tokens and the n nodes with the most influence, over that of everything; n = 0, 1, ...
        counts: nodes of pruned circuits, ascending.
        replacement, completeness: scores of these circuits' kept edges.
    """

    influence: Float[np.ndarray, "n_inner_plus_1"]
    counts: Int[np.ndarray, "n_circuits"]
    replacement: Float[np.ndarray, "n_circuits"]
    completeness: Float[np.ndarray, "n_circuits"]


def circuit_sizes(graph: Graph | Circuit, steps: int = STEPS) -> CircuitSizes:
    """Prune a graph at `steps` node thresholds, spaced so that the circuits' sizes are.

    The edge threshold is that of the circuit, 1 for a graph.
    """
    circuit = as_circuit(graph)
    layout = circuit.graph.layout
    inner = np.sort(circuit.node_influence[: layout.token_nodes.start])[::-1]
    tokens, total = float(circuit.node_influence[layout.token_nodes].sum()), float(circuit.node_influence.sum())
    influence = np.concatenate([[tokens], tokens + np.cumsum(inner)]) / max(total, np.finfo(float).tiny)
    some = int((inner > 0).sum())
    ranked = np.sort(circuit.node_influence[: layout.n_cols])[::-1]
    shares = np.cumsum(ranked) / max(total, np.finfo(float).tiny)
    wanted = np.unique(np.geomspace(1, max(1, some), steps).round().astype(int))
    at = [int(np.searchsorted(-ranked, -inner[n - 1], side="right")) - 1 for n in wanted.tolist() if some]
    found: dict[int, Circuit] = {}
    for share in [*(min(1.0, float(shares[i])) for i in at), 1.0]:
        pruned = prune(circuit.graph, share, circuit.edge_threshold)
        found.setdefault(int(pruned.node_mask[: layout.token_nodes.start].sum()), pruned)
    counts = sorted(found)
    return CircuitSizes(
        influence=influence[: some + 1],
        counts=np.array(counts, dtype=np.int64),
        replacement=np.array([found[n].circuit_replacement_score for n in counts]),
        completeness=np.array([found[n].circuit_completeness_score for n in counts]),
    )


def influence_curve(graph: Graph | Circuit, *, width: float = COLUMN, font: Font = "sans") -> PaperFigure:
    """Draw `circuit_sizes`, with the scores of the whole graph as dotted lines and the circuit's own size as a mark.

    Args:
        graph: a circuit, or a graph, which has no mark.
        width: inches.
        font: `sans` or `serif`.

    Example:
        save_figure(influence_curve(circuit), Path("curve.pdf"))
    """
    circuit, sizes = as_circuit(graph), circuit_sizes(graph)
    blue, red, ochre = "#004488", "#BB5566", "#DDAA33"
    with paper_style(font):
        figure = new_figure(width)
        axes = figure.subplots()
        n = np.arange(len(sizes.influence))
        style: dict[str, Any] = {"markersize": 2.6, "clip_on": False}
        axes.plot(n, sizes.influence, color=blue, linestyle="-", marker="", label="influence")
        axes.plot(sizes.counts, sizes.completeness, color=red, linestyle=(0, (5, 1.5)), marker="s", **style)
        axes.plot(sizes.counts, sizes.replacement, color=ochre, linestyle=(0, (1.5, 1)), marker="^", **style)
        axes.lines[1].set_label("completeness")
        axes.lines[2].set_label("replacement")
        for score, colour in ((circuit.completeness_score, red), (circuit.replacement_score, ochre)):
            axes.axhline(score, color=colour, linewidth=0.6, linestyle=":", marker="")
        if isinstance(graph, Circuit):
            kept = int(circuit.node_mask[: circuit.graph.layout.token_nodes.start].sum())
            axes.axvline(kept, color="#666666", linewidth=0.6, linestyle="-", marker="", label=f"this circuit, {kept}")
        if n[-1] > MANY:
            axes.set_xscale("symlog", linthresh=1.0)
            axes.xaxis.set_major_formatter("{x:.0f}")
        axes.set_xlim(0, max(1, int(n[-1]), int(sizes.counts[-1])))
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_xlabel("features and errors kept")
        figure.legend(loc="outside upper center", ncols=2)
    return figure
