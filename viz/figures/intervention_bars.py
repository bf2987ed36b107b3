"""What an intervention does to the next token: probabilities before and after, as bars side by side."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import PercentFormatter

from replacement_model.errors import InputError
from replacement_model.interventions import InterventionResult
from replacement_model.interventions.result import TokenChange
from viz.figures.style import COLUMN, Font, PaperFigure, new_figure, paper_style, plain
from viz.text import visible_token, wrap

__all__ = ["changed_tokens", "intervention_bars"]

BEFORE, AFTER = "#BBCCEE", "#004488"
LINE = 17.0  # points for the two bars of a token
LABEL, NUMBER = 7.0, 6.0
LONGEST_LABEL = 70.0
MOST = 8
NEGLIGIBLE = 0.0005  # shown as 0.0%


def intervention_bars(
    result: InterventionResult | Sequence[TokenChange], *, width: float = COLUMN, font: Font = "sans"
) -> PaperFigure:
    """Draw the next tokens whose probability an intervention changes most, the likeliest before on top.

    Before is pale and hatched, after is dark, so that they are told apart in grey-scale print.

    Args:
        result: what `intervene` gave, or changes to choose from.
        width: inches.
        font: `sans` or `serif`.

    Raises:
        InputError: no tokens.

    Example:
        save_figure(intervention_bars(intervene(model, prompt, Intervention.ablate("1/-1/1006"))), Path("bars.pdf"))
    """
    changes = (*result.raised, *result.lowered) if isinstance(result, InterventionResult) else result
    tokens = changed_tokens(changes)
    if not tokens:
        raise InputError("expected tokens whose probability changes, got none; give those that `intervene` lists")
    labels = [plain(wrap(visible_token(one.token), LABEL, LONGEST_LABEL, 1)[0], font) for one in tokens]
    y = np.arange(len(tokens))[::-1]
    with paper_style(font):
        figure = new_figure(width, (len(tokens) * LINE + 46.0) / 72)
        axes = figure.subplots()
        before, after = [one.probability_before for one in tokens], [one.probability_after for one in tokens]
        look: dict[str, Any] = {"height": 0.38, "edgecolor": "#222222", "linewidth": 0.5}
        first = axes.barh(y + 0.2, before, color=BEFORE, hatch="////", label="before", **look)
        second = axes.barh(y - 0.2, after, color=AFTER, label="after", **look)
        for bars, values in ((first, before), (second, after)):
            axes.bar_label(bars, [f"{value:.1%}" for value in values], padding=2, fontsize=NUMBER)
        axes.set_yticks(y, labels, fontsize=LABEL)
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(0, 1.16 * max(*before, *after, NEGLIGIBLE))
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_xlabel("probability of the next token")
        figure.legend(loc="outside upper center", ncols=2)
    return figure


def changed_tokens(changes: Iterable[TokenChange]) -> tuple[TokenChange, ...]:
    """Those whose probability changes most, at most eight, the likeliest before the intervention first."""
    found = {one.token_id: one for one in changes}
    seen = [one for one in found.values() if abs(one.probability_change) >= NEGLIGIBLE] or list(found.values())
    most = sorted(seen, key=lambda one: -abs(one.probability_change))[:MOST]
    return tuple(sorted(most, key=lambda one: (-one.probability_before, -one.probability_after, one.token_id)))
