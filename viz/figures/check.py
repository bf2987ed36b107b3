"""A check as one figure: influence against ablation, predictions further on, stability, another transcoder."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from circuits.faithfulness.ablation import PREDICTORS, AblationCheck
from circuits.faithfulness.check import Check, Checks
from circuits.faithfulness.rank import mean_of
from viz.figures.style import HATCHES, MARKERS, SERIES, TEXT, Font, PaperFigure, new_figure, paper_style, plain

__all__ = ["check_figure"]

ROW = 2.1  # inches
NAMES = {
    "influence": "influence",
    "activation": "activation",
    "direct edge": "direct\nedge",
    "total effect": "total\neffect",
}
GROUPS = {"graph": "influential", "chance": "by chance"}
MODES = {"iterative": "features again", "free": "model free"}


def check_figure(checks: Checks, *, width: float = TEXT, font: Font = "sans") -> PaperFigure:
    """Draw what was measured; several graphs are drawn together, as points of one cloud or as means.

    Args:
        checks: what `check_circuits` found.
        width: inches.
        font: `sans` or `serif`.

    Example:
        save_figure(check_figure(checks), Path("check.pdf"))
    """
    ablations = [one.ablation for one in checks.each if one.ablation is not None]
    compared = [one for one in checks.each if one.comparison is not None]
    n_rows = 1 + bool(ablations) + bool(compared)
    with paper_style(font):
        figure = new_figure(width, ROW * n_rows)
        rows = iter(figure.subplots(n_rows, 2, squeeze=False))
        if ablations:
            left, right = next(rows)
            _scatter(left, ablations)
            _correlations(right, checks, ablations)
        left, right = next(rows)
        _by_distance(left, checks.each)
        _stability(right, checks.each)
        if compared:
            left, right = next(rows)
            _layers(left, compared, font)
            _lengths(right, compared, font)
    return figure


def _scatter(axes: Axes, ablations: Sequence[AblationCheck]) -> None:
    influence = np.concatenate([one.predictions["influence"] for one in ablations])
    effect = np.concatenate([np.abs(one.effects) for one in ablations])
    drawn = (influence > 0) & (effect > 0)
    if drawn.any():
        axes.set(xscale="log", yscale="log")
    axes.plot(influence[drawn], effect[drawn], ls="", marker="o", ms=2.2, mew=0, alpha=0.5, color=SERIES[0])
    axes.set(xlabel="influence on the target", ylabel="abs(change of the logit)")
    hidden = f" ({int((~drawn).sum())} at zero not drawn)" if not drawn.all() else ""
    axes.set_title(f"{len(effect):,} features, each ablated alone{hidden}")


def _correlations(axes: Axes, checks: Checks, ablations: Sequence[AblationCheck]) -> None:
    together = checks.ablation
    means = [mean_of([one.spearman[name] for one in ablations]) for name in PREDICTORS]
    x = np.arange(len(PREDICTORS))
    bars = axes.bar(x, np.nan_to_num(means), 0.6, color=SERIES[0], edgecolor="#222222", linewidth=0.5)
    for bar, name in zip(bars, PREDICTORS, strict=True):
        if name != "influence":
            bar.set(facecolor=SERIES[4], hatch=HATCHES[1])
    if together is not None:
        ends = [together.mean[name] for name in PREDICTORS]
        spread = np.array([[one.value - one.low, one.high - one.value] for one in ends]).T
        axes.errorbar(x, [one.value for one in ends], np.maximum(spread, 0), ls="", marker="", color="#222222", lw=0.8)
    for place, value in zip(x, means, strict=True):
        text = "none" if np.isnan(value) else f"{value:.2f}"
        axes.annotate(
            text, (place, max(np.nan_to_num(value), 0)), (0, 7), textcoords="offset points", ha="center", fontsize=6
        )
    axes.axhline(0, color="#666666", lw=0.6, ls="-", marker="")
    axes.set_xticks(x, [NAMES[name] for name in PREDICTORS])
    axes.set_ylim(min(0.0, *np.nan_to_num(means)) - 0.02, 1.15)
    axes.set(ylabel="Spearman with ablation")
    axes.set_title("one prompt" if len(ablations) == 1 else f"mean of {len(ablations)} prompts, 95% intervals")


def _by_distance(axes: Axes, each: Sequence[Check]) -> None:
    distances = [*sorted({row.distance for one in each for row in one.downstream if row.distance is not None}), None]
    x = np.arange(len(distances))
    for series, (mode, mode_name) in enumerate(MODES.items()):
        for chosen, chosen_name in GROUPS.items():
            rows = [row for one in each for row in one.downstream if (row.mode, row.chosen) == (mode, chosen)]
            values = [mean_of([row.cosine for row in rows if row.distance == distance]) for distance in distances]
            axes.plot(
                x,
                values,
                color=SERIES[series],
                ls="-" if chosen == "graph" else (0, (4, 1.5)),
                marker=MARKERS[series],
                mfc=SERIES[series] if chosen == "graph" else "white",
                label=f"{mode_name}, {chosen_name}",
            )
    axes.axhline(0, color="#666666", lw=0.6, ls="-", marker="")
    axes.set_xticks(x, ["target" if distance is None else str(distance) for distance in distances])
    axes.set(xlabel="layers from the ablated feature", ylabel="cosine")
    axes.set_title("predicted and measured changes")
    axes.set_ylim(top=1.08)
    axes.legend(loc="best", fontsize=6)


def _stability(axes: Axes, each: Sequence[Check]) -> None:
    first = each[0].stability
    x, last = first.node_thresholds, len(first.edge_thresholds) - 1
    axes.plot(x, np.mean([[row[last] for row in one.stability.n_nodes] for one in each], axis=0), label="nodes")
    for column in dict.fromkeys((0, last)):
        edges = np.mean([[row[column] for row in one.stability.n_edges] for one in each], axis=0)
        axes.plot(x, edges, label=f"edges, threshold {first.edge_thresholds[column]:g}")
    axes.set_xticks(x)
    axes.set(yscale="log", xlabel="node threshold", ylabel="kept")
    shared = [np.mean([getattr(one.stability, name) for one in each]) for name in ("node_jaccard", "edge_jaccard")]
    axes.set_title(f"one step of the grid keeps {shared[0]:.0%} of nodes, {shared[1]:.0%} of edges")
    axes.legend(fontsize=6)


def _layers(axes: Axes, compared: Sequence[Check], font: Font) -> None:
    _shares(
        axes, [[one.comparison.first.layers, one.comparison.second.layers] for one in compared if one.comparison], 0
    )
    axes.set(xlabel="layer", ylabel="share of influence")
    axes.set_title("influence of features by layer")
    axes.legend([plain(name, font) for name in _transcoders(compared)], fontsize=6)


def _lengths(axes: Axes, compared: Sequence[Check], font: Font) -> None:
    shares = [
        [one.comparison.first.token_lengths, one.comparison.second.token_lengths] for one in compared if one.comparison
    ]
    _shares(axes, shares, 1)
    axes.set(xlabel="edges from a token to the target", ylabel="share of influence")
    axes.set_title("length of paths from tokens")
    axes.legend([plain(name, font) for name in _transcoders(compared)], fontsize=6)


def _transcoders(compared: Sequence[Check]) -> list[str]:
    one = compared[0].comparison
    return [] if one is None else [one.first.transcoder, one.second.transcoder]


def _shares(axes: Axes, values: Sequence[Sequence[Float[np.ndarray, "n"]]], first: int) -> None:
    """Two distributions side by side, means over prompts, with room for the legend."""
    for side in (0, 1):
        mean = np.mean([pair[side] for pair in values], axis=0)
        look: dict[str, Any] = {"facecolor": (SERIES[0], SERIES[4])[side], "hatch": ("", HATCHES[1])[side]}
        x = np.arange(len(mean)) + first
        axes.bar(x + (side - 0.5) * 0.4, mean, 0.4, edgecolor="#222222", linewidth=0.5, **look)
        axes.set_xticks(x)
    axes.set_ylim(0, 1.35 * axes.get_ylim()[1])
