"""Plots of the hallucination study: what feeds declining, rates of the tests, ROC curves."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from circuits.studies.hallucination.inputs import PARTS
from circuits.studies.hallucination.prediction import BEST_SINGLE, POPULATIONS, Prediction
from circuits.studies.hallucination.predictors import BASELINE, PRIMARY
from circuits.studies.hallucination.steering import TESTS
from circuits.studies.hallucination.study import TranscoderResult
from circuits.studies.statistics import Estimate
from viz.figures import COLUMN, TEXT, new_figure, paper_style, plain
from viz.figures.style import GREY, MARKERS, SERIES, PaperFigure

__all__ = ["activations_figure", "curves_figure", "inputs_figure", "rates_figure", "separation_figure"]

DRAWN = (PRIMARY, BEST_SINGLE, BASELINE, "activations of features")
ROW, FRAME = 0.22, 0.75  # inches
PART_COLOURS = ("#666666", "#BBBBBB", "#DDAA33", "#BBCCEE", "#004488", "#BB5566")
PART_HATCHES = ("", "", "////", "", "", "....")


def activations_figure(result: TranscoderResult) -> PaperFigure:
    """Activation of the strongest "unknown" feature on every scored prompt, by outcome."""
    shown = {outcome: np.sort(values) for outcome, values in result.strongest.items() if len(values) > 1}
    with paper_style():
        figure = new_figure(COLUMN)
        axes = figure.subplots()
        for place, (outcome, values) in enumerate(shown.items()):
            share = np.arange(1, len(values) + 1) / len(values)
            axes.step(values, share, where="post", marker="", color=SERIES[place], label=f"{outcome} ({len(values)})")
        axes.set_xlabel(f"activation of {result.supernode[0].name}")
        axes.set_ylabel("share of prompts below")
        axes.set_ylim(0, 1.02)
        figure.legend(loc="outside upper center", ncols=2)
    return figure


def inputs_figure(result: TranscoderResult) -> PaperFigure:
    """Parts of the pre-activation of each "unknown" feature, by outcome."""
    features = [member.name for member in result.supernode]
    outcomes = list(dict.fromkeys(row["outcome"] for row in result.inputs if row["n"] > 1))
    rows = {(row["feature"], row["outcome"]): row for row in result.inputs}
    with paper_style():
        figure = new_figure(TEXT, FRAME + 0.35 + ROW * len(outcomes) * len(features))
        panels = figure.subplots(len(features), 1, sharex=True, squeeze=False)[:, 0]
        for axes, feature in zip(panels, features, strict=True):
            _stack(axes, [rows[feature, outcome]["parts"] for outcome in outcomes])
            totals = [rows[feature, outcome]["pre_activation"] for outcome in outcomes]
            axes.plot(totals, range(len(outcomes)), "D", color="#000000", label="pre-activation")
            axes.set_yticks(range(len(outcomes)), outcomes)
            axes.set_ylim(len(outcomes) - 0.5, -0.5)
            axes.axvline(0, color=GREY, linewidth=0.6)
            axes.set_title(feature, loc="left")
        panels[-1].set_xlabel("part of the pre-activation")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=4)
    return figure


def _stack(axes: Axes, parts: Sequence[dict[str, float]]) -> None:
    """Positive parts to the right of zero, negative ones to the left."""
    ends = {1: np.zeros(len(parts)), -1: np.zeros(len(parts))}
    for place, name in enumerate(PARTS):
        values = np.array([one[name] for one in parts])
        left = np.where(values >= 0, ends[1], ends[-1])
        style: dict[str, Any] = {"color": PART_COLOURS[place], "hatch": PART_HATCHES[place], "edgecolor": "white"}
        axes.barh(np.arange(len(parts)), values, left=left, height=0.7, label=name, linewidth=0.4, **style)
        ends[1] += np.maximum(values, 0)
        ends[-1] += np.minimum(values, 0)


def rates_figure(results: Sequence[TranscoderResult]) -> PaperFigure:
    """Every test (filled) against random features (hollow), each with its interval, by transcoder."""
    names = [test.name for test in TESTS if any(one.test == test.name for result in results for one in result.steering)]
    expected = {test.name: test.expected for test in TESTS}
    with paper_style():
        figure = new_figure(TEXT, FRAME + 0.3 * len(names))
        axes = figure.subplots()
        for place, result in enumerate(results):
            found = {one.test: one for one in result.steering}
            shift = (place - (len(results) - 1) / 2) * 0.3
            rows = [(number + shift, found[name]) for number, name in enumerate(names) if name in found]
            label = plain(result.name)
            _points(axes, [(y, one.rate) for y, one in rows], place, SERIES[place], f"{label}, supernode")
            _points(axes, [(y, one.control) for y, one in rows], place, "white", f"{label}, random features")
        axes.set_yticks(range(len(names)), [f"{name}: {expected[name]}" for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(-0.02, 1.02)
        axes.grid(visible=True, axis="x")
        axes.set_xlabel("share of prompts on which this follows")
        figure.legend(loc="outside upper center", ncols=2 * len(results), handlelength=1.2, columnspacing=1.2)
    return figure


def _points(axes: Axes, rows: Sequence[tuple[float, Estimate]], place: int, fill: str, label: str) -> None:
    if not rows:
        return
    y, values = [at for at, _ in rows], np.array([one.value for _, one in rows])
    low, high = np.array([one.low for _, one in rows]), np.array([one.high for _, one in rows])
    around = [np.maximum(values - low, 0), np.maximum(high - values, 0)]
    look: dict[str, Any] = {
        "color": SERIES[place],
        "markerfacecolor": fill,
        "markersize": 4.0,
        "elinewidth": 0.8,
        "capsize": 1.5,
    }
    axes.errorbar(values, y, xerr=around, fmt=MARKERS[place], linestyle="none", label=label, **look)


def separation_figure(result: TranscoderResult) -> PaperFigure:
    """The best feature per layer and place: AUROC where it was chosen (hollow) and where it was scored (filled)."""
    pairs = list(dict.fromkeys((one.first, one.second) for one in result.separation))
    places = list(dict.fromkeys((one.role, one.layer) for one in result.separation))
    with paper_style():
        figure = new_figure(TEXT, FRAME + 0.17 * len(places))
        panels = figure.subplots(1, len(pairs), sharey=True, squeeze=False)[0]
        for axes, pair in zip(panels, pairs, strict=True):
            found = {(one.role, one.layer): one for one in result.separation if (one.first, one.second) == pair}
            rows = [(y, found[place]) for y, place in enumerate(places) if place in found]
            chosen = [one.chosen for _, one in rows]
            axes.plot(chosen, [y for y, _ in rows], "o", mfc="white", color=SERIES[1], label="where it was chosen")
            _points(axes, [(y, one.scored) for y, one in rows], 0, SERIES[0], "where it was scored")
            axes.axvline(0.5, color=GREY, linewidth=0.6, linestyle=":")
            axes.set_title(f"{pair[0]}\nagainst {pair[1]}", fontsize=7)
            axes.set_xlim(0.35, 1.02)
        panels[0].set_yticks(range(len(places)), [f"layer {layer}, {role}" for role, layer in places])
        panels[0].set_ylim(len(places) - 0.5, -0.5)
        panels[len(panels) // 2].set_xlabel("AUROC of the best feature")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=2)
    return figure


def curves_figure(result: TranscoderResult) -> PaperFigure:
    """ROC curves of wrong answers on the scored prompts."""
    with paper_style():
        figure = new_figure(TEXT, 0.52 * TEXT)
        for axes, population in zip(figure.subplots(1, len(POPULATIONS)), POPULATIONS, strict=True):
            found = {one.name: one for one in result.prediction if one.population == population}
            for place, name in enumerate(name for name in DRAWN if name in found):
                axes.plot(found[name].fpr, found[name].tpr, marker="", label=_legend(found[name]), color=SERIES[place])
            axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.6, linestyle=":", marker="")
            one = found[BASELINE]
            axes.set_title(f"{population}: {one.n_wrong} wrong, {one.n_right} right")
            axes.set_xlabel("share of right answers flagged")
            axes.set_ylabel("share of wrong answers flagged")
            axes.set_aspect("equal")
            axes.legend(loc="lower right", fontsize=6)
    return figure


def _legend(one: Prediction) -> str:
    return f"{one.name}: {one.auroc.value:.2f} ({one.auroc.low:.2f} to {one.auroc.high:.2f})"
