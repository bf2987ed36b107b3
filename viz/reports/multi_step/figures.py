"""Plots of the multi-step study: rates with their intervals, by size of supernode, and what features carry."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from circuits.studies.multi_step.contents import Content
from circuits.studies.multi_step.results import ArmResult, ExperimentResult
from circuits.studies.statistics import Estimate
from viz.figures import TEXT, new_figure, paper_style, plain
from viz.figures.style import GREY, HATCHES, MARKERS, SERIES, PaperFigure

__all__ = ["RateRow", "contents_figure", "rate_rows", "rates_figure", "sizes_figure"]

ROW = 0.24  # inches
FRAME = 0.75
BAR = 0.5
APART = 0.12  # rows, between a swap and its control
METHOD_NAMES = {"graph": "by influence in graphs", "activation": "by activation"}


@dataclass(frozen=True, slots=True)
class RateRow:
    """A line of the plot: by transcoder, the rate of the swap and that of its control."""

    label: str
    rates: Mapping[str, tuple[Estimate, Estimate]]


def rate_rows(results: Sequence[ExperimentResult]) -> list[RateRow]:
    """One row for each experiment, operation, hop and outer group, in their order."""
    found: dict[str, dict[str, tuple[Estimate, Estimate]]] = {}
    for result in results:
        for one in result.arms:
            if one.arm.control or one.arm.held or one.arm.operation == "patch" or one.group not in outer_groups(result):
                continue
            if one is not chosen_arm(result, one.arm.operation, one.arm.hop, one.group):
                continue
            control = result.arm(one.arm.operation, one.arm.hop, one.group, control=True)
            found.setdefault(row_label(result, one), {})[result.transcoder] = (one.success, control.success)
    return [RateRow(label, rates) for label, rates in found.items()]


def outer_groups(result: ExperimentResult) -> tuple[str, ...]:
    """The groups that are part of no other, without `all` where there are several."""
    outer = tuple(group for group in result.groups if "/" not in group)
    return tuple(group for group in outer if group != "all") or outer


def chosen_arm(result: ExperimentResult, operation: str, hop: str, group: str) -> ArmResult:
    """The arm that was chosen for a hop: the first of it."""
    return result.arm(operation, hop, group)


def row_label(result: ExperimentResult, one: ArmResult) -> str:
    """Words for an arm."""
    operation = "" if one.arm.operation == "swap" else f", {one.arm.operation}"
    group = "" if one.group == "all" or len(outer_groups(result)) == 1 else f" ({one.group})"
    return f"{result.experiment.name}{operation}, {one.arm.hop}{group}"


def rates_figure(rows: Sequence[RateRow]) -> PaperFigure:
    """Swaps (filled) against controls (hollow), each with its interval; the dotted line is the bar."""
    with paper_style():
        figure = new_figure(TEXT, FRAME + ROW * len(rows))
        axes = figure.subplots()
        names = list(dict.fromkeys(name for row in rows for name in row.rates))
        for place, name in enumerate(names):
            shift = (place - (len(names) - 1) / 2) * 0.3
            for kind, (fill, what) in enumerate(((SERIES[place], "swap"), ("white", "random features"))):
                found = [
                    (y + shift + APART * kind, row.rates[name][kind]) for y, row in enumerate(rows) if name in row.rates
                ]
                _points(axes, found, place, fill, f"{name}, {what}")
        axes.set_yticks(range(len(rows)), [plain(row.label, "sans") for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.axvline(BAR, color=GREY, linewidth=0.6, linestyle=":")
        axes.set_xlim(-0.02, 1.02)
        axes.grid(visible=True, axis="x")
        axes.set_xlabel("share of prompts with the answer that the swap should give")
        figure.legend(loc="outside upper center", ncols=2 * len(names), handlelength=1.2, columnspacing=1.2)
        return figure


def sizes_figure(results: Sequence[ExperimentResult], group: str) -> PaperFigure:
    """Success by number of features, for features chosen by influence in graphs and by activation."""
    with paper_style():
        figure = new_figure(TEXT, 2.1)
        panels = np.atleast_1d(figure.subplots(1, len(results), sharey=True))
        for axes, result in zip(panels, results, strict=True):
            hop = next(iter(result.experiment.hops))
            for place, (method, name) in enumerate(METHOD_NAMES.items()):
                arms = [one for one in result.arms if _is_plain(one, hop, group) and one.arm.choice.method == method]
                by_size = {one.arm.choice.n_features: one.success for one in arms}
                sizes = sorted(by_size)
                values = [by_size[size].value for size in sizes]
                low = [value - by_size[size].low for size, value in zip(sizes, values, strict=True)]
                high = [by_size[size].high - value for size, value in zip(sizes, values, strict=True)]
                axes.errorbar(sizes, values, yerr=[low, high], color=SERIES[place], marker=MARKERS[place], label=name)
            axes.set_title(result.transcoder)
            axes.set_xscale("log", base=2)
            axes.set_xticks(sizes, [str(size) for size in sizes])
            axes.minorticks_off()
            axes.set_xlabel("features in a supernode")
            axes.set_ylim(0, 1.03)
            axes.grid(visible=True, axis="y")
        panels[0].set_ylabel("share of swaps that succeed")
        panels[0].legend(loc="lower right")
        return figure


def contents_figure(contents: Mapping[str, Sequence[Content]]) -> PaperFigure:
    """Stacked bars: shares of the influence on sums, by what the features carry, for each place and layer."""
    kinds = sorted({kind for found in contents.values() for one in found for kind in one.shares})
    with paper_style():
        most = max(len(found) for found in contents.values())
        figure = new_figure(TEXT, FRAME + 0.5 + ROW * most * len(contents))
        panels = np.atleast_1d(figure.subplots(len(contents), 1, sharex=True))
        for axes, (name, found) in zip(panels, contents.items(), strict=True):
            left = np.zeros(len(found))
            for place, kind in enumerate(kinds):
                width = np.array([one.shares.get(kind, 0.0) for one in found])
                look = {"color": SERIES[place % len(SERIES)], "hatch": HATCHES[(place + place // 5) % len(HATCHES)]}
                axes.barh(range(len(found)), width, left=left, label=kind, edgecolor="white", height=0.75, **look)
                left += width
            axes.set_yticks(range(len(found)), [f"{one.place}, layer {one.layer}" for one in found])
            axes.invert_yaxis()
            axes.set_title(name)
            axes.set_xlim(0, 1)
        panels[-1].set_xlabel("share of the features' influence on the sum")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, handlelength=1.2)
        return figure


def _points(axes: Axes, found: Sequence[tuple[float, Estimate]], place: int, fill: str, label: str) -> None:
    values = [one.value for _, one in found]
    spread = [[one.value - one.low for _, one in found], [one.high - one.value for _, one in found]]
    axes.errorbar(
        values,
        [y for y, _ in found],
        xerr=np.abs(np.array(spread)),
        linestyle="none",
        color=SERIES[place],
        marker=MARKERS[place],
        markerfacecolor=fill,
        markersize=4,
        elinewidth=0.9,
        label=label,
    )


def _is_plain(one: ArmResult, hop: str, group: str) -> bool:
    arm = one.arm
    return arm.operation == "swap" and arm.hop == hop and one.group == group and not (arm.control or arm.held)
