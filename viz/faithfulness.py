"""What a check found, in words for people who did not write it: what held, what did not, and what that means."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from circuits.faithfulness.ablation import PREDICTORS, AblationCheck
from circuits.faithfulness.check import Check, Checks
from circuits.faithfulness.downstream import DownstreamRow
from circuits.faithfulness.summary import BASELINES, AblationSummary
from viz.text import visible, visible_token

__all__ = ["Finding", "check_markdown", "check_summary", "findings"]

STYLES = {"holds": "green", "FAILS": "bold red", "measured": "cyan"}
MODES = {"iterative": "features computed again", "free": "the model free"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked.

    Attributes:
        verdict: `holds` or `FAILS` where it must be exact, else `measured`.
        title: what was checked.
        text: what was found.
        meaning: what that says about the graph.
    """

    verdict: str
    title: str
    text: str
    meaning: str


def findings(check: Check) -> tuple[Finding, ...]:
    """What was found of one graph, the exact parts first."""
    found = [_record(check), _direct(check), _downstream(check)]
    if check.ablation is not None:
        found.append(_ablation(check.ablation))
    found.append(_stability(check))
    if check.comparison is not None:
        found.append(_comparison(check))
    return tuple(found)


def check_summary(checks: Checks) -> RenderableType:
    """Everything that was found, for the terminal."""
    parts: list[RenderableType] = []
    for one in checks.each:
        parts.append(Text(visible(f"{one.prompt}  ({one.transcoder}, explains {visible_token(one.target)})"), "bold"))
        for finding in findings(one):
            parts.append(Text.assemble((f"{finding.verdict:9}", STYLES[finding.verdict]), (finding.title, "bold")))
            parts.append(_indented(finding))
        parts.append(Text())
    if checks.ablation is not None:
        parts += [Text(f"Over {checks.ablation.n_prompts} prompts", "bold"), _together(checks.ablation), Text()]
    parts.append(Text(_closing(checks), "green" if checks.holds else "bold red"))
    return Group(*parts)


def check_markdown(checks: Checks) -> str:
    """The same as a page."""
    lines = ["# Check of attribution graphs", "", _closing(checks), ""]
    for one in checks.each:
        prompt, target = (_escaped(visible(text)) for text in (one.prompt, visible_token(one.target)))
        lines += [f"## {prompt}", "", f"Model {one.model}, transcoder {one.transcoder}, explains {target}.", ""]
        for finding in findings(one):
            lines += [f"- **{finding.title}: {finding.verdict}.** {_escaped(finding.text)} *{finding.meaning}*"]
        lines += ["", *_downstream_table(one.downstream), ""]
    if checks.ablation is not None:
        lines += [f"## Over {checks.ablation.n_prompts} prompts", "", *_summary_table(checks.ablation), ""]
    return "\n".join(lines)


def _record(check: Check) -> Finding:
    record = check.record
    text = (
        f"Activations differ from the model's by at most {_share(record.activations)} of the largest, targets by "
        f"{_share(record.targets)}; edges, constants and omitted terms add up to every value within "
        f"{_share(record.books)}."
    )
    meaning = "The file describes this prompt in this model." if record.holds else "The file is not of this model."
    return Finding(_verdict(record.holds), "The record", text, meaning)


def _direct(check: Check) -> Finding:
    one = check.direct
    text = (
        f"{one.n_by_graph} influential features and {one.n_by_chance} drawn by chance were ablated with all else held: "
        f"{one.n_effects:,} values moved as the edges say, the largest error is {one.worst:.0%} of what is allowed."
    )
    if not one.holds:
        text = (
            f"Of {one.n_effects:,} effects some are not what the edges say; the worst, of {one.source} on "
            f"{one.target}, misses by {_times(one.worst)} what is allowed."
        )
    if one.n_unmeasured:
        text += f" {one.n_unmeasured} targets are directions, which the file does not hold; they were not measured."
    meaning = "Edges are exact direct effects." if one.holds else "Do not trust this graph; trace the prompt again."
    return Finding(_verdict(one.holds), "Direct effects", text, meaning)


def _downstream(check: Check) -> Finding:
    parts = []
    for mode, name in MODES.items():
        rows = [row for row in check.downstream if (row.mode, row.chosen) == (mode, "graph") and row.n]
        values = [f"{_where(row)} {_number(row.cosine)}" for row in rows]
        parts.append(f"with {name}: {', '.join(values) or 'nothing to compare'}")
    control = next(row for row in check.downstream if (row.mode, row.chosen, row.distance) == ("free", "chance", None))
    text = (
        f"Cosine of predicted and measured changes after ablating influential features, {'; '.join(parts)}. Features "
        f"by chance, the target, the model free: {_number(control.cosine)}."
    )
    meaning = (
        "1 is a perfect prediction. The first shows what responds inside the replacement model, the second the model "
        "itself, whose norms and MLPs answer too: claims about the model need the second."
    )
    return Finding("measured", "Effects further on", text, meaning)


def _ablation(one: AblationCheck) -> Finding:
    n_done = len(one.effects)
    whole = "All" if n_done == one.n_active else f"{n_done:,} of {one.n_active:,}"
    baselines = ", ".join(f"{name} {_number(one.spearman[name])}" for name in BASELINES)
    text = (
        f"{whole} active features were ablated, each alone ({n_done:,}), the model free: influence ranks them as their "
        f"effect on the target does, Spearman {_number(one.spearman['influence'])} ({baselines}); at the target's "
        f"position alone {_number(one.spearman_last['influence'])}."
    )
    better = all(one.spearman["influence"] > one.spearman[name] for name in BASELINES)
    meaning = (
        "Here influence says more about what the model needs than either simple measure."
        if better
        else "Here a simpler measure says as much about what the model needs."
    )
    return Finding("measured", "Influence and ablation", text, meaning)


def _stability(check: Check) -> Finding:
    one = check.stability
    n_cells = len(one.node_thresholds) * len(one.edge_thresholds)
    text = (
        f"Over {n_cells} pairs of thresholds, neighbours share {one.node_jaccard:.0%} of their features and errors and "
        f"{one.edge_jaccard:.0%} of their edges (Jaccard; the least {one.worst_node_jaccard:.0%} and "
        f"{one.worst_edge_jaccard:.0%}). Of this circuit's {one.own_nodes} features and errors {one.always_nodes} are "
        f"in every one and {one.mostly_nodes} in at least half; of its {one.own_edges} edges {one.always_edges} and "
        f"{one.mostly_edges}."
    )
    meaning = "What is not in every one is there because of the thresholds: do not rest a claim on it alone."
    return Finding("measured", "Stability", text, meaning)


def _comparison(check: Check) -> Finding:
    one = check.comparison
    if one is None:
        raise ValueError("a comparison is described only where there is one")
    first, second = one.first, one.second
    place = int(np.argmax(first.tokens)), int(np.argmax(second.tokens))
    tokens = [visible_token(check.tokens[pos]) for pos in place]
    most = f"both most to {tokens[0]}" if place[0] == place[1] else f"most to {tokens[0]} and to {tokens[1]}"
    text = (
        f"{second.transcoder} on the same prompt gives back {one.tokens:.0%} of the tokens' influence ({most}; an even "
        f"spread: {one.tokens_even:.0%}), {one.positions:.0%} over positions and {one.layers:.0%} over layers. "
        f"Replacement score {first.replacement_score:.2f} against {second.replacement_score:.2f}, completeness "
        f"{first.completeness_score:.2f} against {second.completeness_score:.2f}; a path from a token has "
        f"{first.mean_length:.1f} edges on average against {second.mean_length:.1f}; {first.n_kept} of "
        f"{first.n_features} features are kept against {second.n_kept} of {second.n_features}."
    )
    return Finding("measured", "Another transcoder", text, "What both show depends less on how the features were made.")


def _indented(finding: Finding) -> RenderableType:
    table = Table(box=None, show_header=False, pad_edge=False, padding=0)
    table.add_column(width=9)
    table.add_column()
    table.add_row("", Text(visible(finding.text)))
    table.add_row("", Text(finding.meaning, "dim"))
    return table


def _together(summary: AblationSummary) -> Table:
    table = Table(box=None, pad_edge=False, header_style="cyan")
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name == _COLUMNS[0] else "right")
    for row in _rows(summary):
        table.add_row(*row)
    return table


_COLUMNS = ("rank correlation with ablation", "mean of prompts (95%)", "influence is above it by", "last position")


def _rows(summary: AblationSummary) -> Iterator[tuple[str, str, str, str]]:
    for name in PREDICTORS:
        gain = summary.gain[name].text if name in summary.gain else ""
        last = summary.last[name].text if summary.last else ""
        yield name, summary.mean[name].text, gain, last


def _summary_table(summary: AblationSummary) -> list[str]:
    return [_line(_COLUMNS), "|---|---|---|---|", *map(_line, _rows(summary))]


def _downstream_table(rows: tuple[DownstreamRow, ...]) -> list[str]:
    head = ("features", "mode", "distance", "ablated", "effects", "Spearman", "cosine")
    cells = (
        (
            row.chosen,
            row.mode,
            _where(row),
            str(row.n),
            str(row.n_effects),
            _number(row.spearman),
            _number(row.cosine),
        )
        for row in rows
    )
    return [_line(head), "|" + "---|" * len(head), *map(_line, cells)]


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def _closing(checks: Checks) -> str:
    n_held = sum(one.holds for one in checks.each)
    if checks.holds:
        which = "" if n_held == 1 else f", in all {n_held} graphs"
        return f"What must be exact is exact{which}; what is measured says how far that reaches into the model."
    return f"What must be exact is not, in {len(checks.each) - n_held} of {len(checks.each)} graphs."


def _verdict(holds: bool) -> str:
    return "holds" if holds else "FAILS"


def _where(row: DownstreamRow) -> str:
    if row.distance is None:
        return "on the target"
    return f"{row.distance} layer{'s' if row.distance > 1 else ''} on"


def _number(value: float) -> str:
    return "none" if np.isnan(value) else f"{value:.2f}"


def _share(value: float) -> str:
    return f"{value:.0e}" if value else "nothing"


def _times(value: float) -> str:
    return f"{value:,.0f} times" if np.isfinite(value) else "more than any multiple of"


def _escaped(text: str) -> str:
    return "".join(f"\\{c}" if c in "*_`[]<>|\\#" else c for c in text)
