"""A replayed specification for the terminal: a line for each case, and the tokens of some, before and after."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from replacement_model.interventions.replay import CaseReplay, ReplayResult
from viz.text import visible, visible_token

__all__ = ["replay_table"]

Tokens = tuple[tuple[str, float], ...]


def replay_table(result: ReplayResult, details: Sequence[CaseReplay] = ()) -> RenderableType:
    """Each case with its most probable token before and after, and whether that was expected.

    Args:
        result: of `replay`.
        details: cases of which all tokens are shown, with what was expected of them.
    """
    differing = set(map(id, result.differing))
    table = Table(box=None, pad_edge=False, header_style="cyan")
    for name in ("before", "after", *(["expected after"] if differing else [])):
        table.add_column(name, no_wrap=True)
    table.add_column("off by", justify="right", no_wrap=True)
    table.add_column("case")
    for one in result.cases:
        tokens = [one.found.before, one.found.after, *([one.case.expected.after] if differing else [])]
        case = Text(visible(one.case.name))
        if id(one) in differing:
            case = Text("differs: ", style="bold").append_text(case)
        style = "red" if id(one) in differing else None
        table.add_row(
            *(Text(_first(row)) for row in tokens),
            Text(f"{one.difference:.0e}" if one.difference else "0"),
            case,
            style=style,
        )
    return Group(table, *(_details(one, result.tolerance) for one in details))


def _details(one: CaseReplay, tolerance: float) -> RenderableType:
    head = [Text(f"\n{visible(one.case.name)}", style="bold"), Text(visible(_prompt(one)))]
    lines = [Text(visible(change.text)) for change in one.case.interventions]
    table = Table(box=None, pad_edge=False, header_style="cyan")
    table.add_column("next token")
    for name in ("before", "expected", "after", "expected"):
        table.add_column(name, justify="right")
    found, expected = one.found, one.case.expected
    sides = [dict(reversed(tokens)) for tokens in (found.before, expected.before, found.after, expected.after)]
    for token in dict.fromkeys(token for side in (found.after, expected.after, found.before) for token, _ in side):
        values = [side.get(token) for side in sides]
        cells = ["" if value is None else f"{value:.2%}" for value in values]
        table.add_row(Text(visible_token(token)), *cells, style="red" if _apart(values, tolerance) else None)
    texts = []
    for when, text, wanted in (
        ("before", found.text_before, expected.text_before),
        ("after", found.text_after, expected.text_after),
    ):
        if text is not None:
            note = "" if wanted in (None, text) else f"  (expected: {visible(wanted)})"
            texts.append(Text(f"{when}: {visible(text)}{note}", style="red" if note else ""))
    return Group(*head, *lines, Text(one.case.conditions.text, style="dim"), table, *texts)


def _apart(values: Sequence[float | None], tolerance: float) -> bool:
    pairs = ((values[0], values[1]), (values[2], values[3]))
    return any(a is not None and b is not None and abs(a - b) > tolerance for a, b in pairs)


def _first(tokens: Tokens) -> str:
    return f"{visible_token(tokens[0][0])} {tokens[0][1]:.1%}" if tokens else "(not stated)"


def _prompt(one: CaseReplay) -> str:
    prompt = one.case.prompt
    return prompt if isinstance(prompt, str) else str(prompt)
