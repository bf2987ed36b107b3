"""A result as a table for the terminal."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from replacement_model.interventions.result import InterventionResult, TokenChange

__all__ = ["result_table"]

LEAST_CHANGE = 0.0005  # of a probability: less is shown as 0.0%


def result_table(result: InterventionResult, n_rows: int = 5) -> Group:
    """What was done, the tokens and features that changed most, and the continuations.

    Args:
        result: of `intervene`.
        n_rows: of each kind, at most.
    """
    what = [Text(f"{result.conditions.text}\n", style="dim"), *(Text(one.text) for one in result.interventions), Text()]
    parts: list[RenderableType] = [*what, _tokens(result, n_rows), Text(), _features(result, n_rows)]
    if result.before is not None and result.after is not None:
        parts += [Text(f"\nbefore: {result.before.text}"), Text(f"after:  {result.after.text}")]
    return Group(*parts)


def _tokens(result: InterventionResult, n_rows: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="cyan")
    table.add_column("next token")
    for name in ("before", "after", "change", "logit"):
        table.add_column(name, justify="right")
    for style, changes in (("green", result.raised), ("red", result.lowered)):
        for one in [one for one in changes if abs(one.probability_change) >= LEAST_CHANGE][:n_rows]:
            table.add_row(*_cells(one), style=style)
    return table


def _cells(one: TokenChange) -> tuple[Text, ...]:
    values = (
        f"{one.probability_before:.1%}",
        f"{one.probability_after:.1%}",
        f"{one.probability_change:+.1%}",
        f"{one.logit_after - one.logit_before:+.3g}",
    )
    return (Text(one.token), *map(Text, values))


def _features(result: InterventionResult, n_rows: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="cyan")
    table.add_column(f"feature ({len(result.features):,} changed)")
    for name in ("before", "after"):
        table.add_column(name, justify="right")
    table.add_column("label")
    for one in result.changed[:n_rows]:
        values = (f"{one.layer}/{one.pos}/{one.feature_idx}", f"{one.before:.3g}", f"{one.after:.3g}", one.label or "")
        table.add_row(*map(Text, values))
    return table
