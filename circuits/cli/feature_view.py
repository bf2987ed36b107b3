"""A feature in the terminal: what it does, and its examples with the active tokens marked.

Tokens come from any text: they are shown as text, never as markup, with control characters written out.
"""

from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from replacement_model.evidence.record import Example, FeatureEvidence
from replacement_model.evidence.scoring import LabelScore
from replacement_model.labels import FeatureLabel
from viz.text import visible

__all__ = ["example_line", "feature_text", "score_table"]

BARS = "▁▂▃▄▅▆▇█"
BEFORE, AFTER = 24, 12  # tokens shown around the peak
SHADES = ("on grey15", "on grey30", "black on dark_orange3", "black on orange1")
SPACES = (" ", "▁")


def feature_text(
    evidence: FeatureEvidence, label: FeatureLabel | None, n_examples: int, marks: bool, score: LabelScore | None = None
) -> Text:
    """All of it.

    Args:
        evidence: what is known.
        label: of the feature, None if it has none.
        score: of the label, None if it was not tested.
        n_examples: to show of each group.
        marks: put signs around active tokens, for output without colours.
    """
    lines = [Text(f"feature {evidence.layer}/{evidence.feature_idx}", style="bold")]
    if label is not None:
        lines.append(_fact("label", f"{visible(label.text)}{_f1(label)}"))
    if score is not None:
        lines.append(_fact("", _tested(score)))
    lines.extend(_fact(name, value) for name, value in _facts(evidence) if value)
    for quantile in evidence.quantiles:
        lines += [Text(), Text(visible(quantile.name), style="cyan")]
        scale = evidence.act_max or max((max(one.acts, default=0.0) for one in evidence.examples), default=0.0)
        lines.extend(example_line(example, scale, marks) for example in quantile.examples[:n_examples])
    if not evidence.quantiles:
        lines.append(Text("never active in this text"))
    return Text("\n").join(lines)


def example_line(example: Example, scale: float, marks: bool) -> Text:
    """One example: the activation at its peak, then the tokens around it."""
    line = Text(f"{example.acts[example.peak] if example.acts else 0.0:8.3g}  ", style="dim")
    first, last = max(0, example.peak - BEFORE), example.peak + AFTER + 1
    line.append("… " if first else "")
    between = "" if any(token.startswith(SPACES) for token in example.tokens) else " "
    for number, pos in enumerate(range(first, min(last, len(example.tokens)))):
        line.append(between if number else "")
        _append_token(line, example.tokens[pos], example.acts[pos], scale, marks)
    line.append(" …" if last < len(example.tokens) else "")
    return line


def _append_token(line: Text, token: str, act: float, scale: float, marks: bool) -> None:
    shown = visible(token.replace("▁", " ")) or "(empty)"
    if act == 0:
        line.append(shown, style="not dim")
        return
    shade = SHADES[min(len(SHADES) - 1, int(len(SHADES) * max(0.0, act) / scale))] if scale > 0 else SHADES[0]
    space = shown[: len(shown) - len(shown.lstrip(" "))]
    line.append(space)
    line.append(f"«{shown[len(space) :]}»" if marks else shown[len(space) :] or " ", style=f"not dim {shade}")


def _facts(evidence: FeatureEvidence) -> Iterator[tuple[str, str]]:
    if evidence.frequency is not None:
        yield "active at", f"{evidence.frequency:.3%} of positions{_range(evidence)}"
    yield "histogram", _histogram(evidence.histogram)
    yield "raises", _tokens(evidence.top_logits, evidence.top_effects)
    yield "lowers", _tokens(evidence.bottom_logits, evidence.bottom_effects)
    yield "nearest", ", ".join(f"{one.layer}/{one.feature_idx} ({one.cosine:.2f})" for one in evidence.nearest)


def _range(evidence: FeatureEvidence) -> str:
    if not evidence.act_max:
        return ""
    return f", from {evidence.act_min or 0.0:.3g} to {evidence.act_max:.3g}"


def _histogram(counts: Sequence[int]) -> str:
    highest = max(counts, default=0)
    if not highest:
        return ""
    return "".join(BARS[-(-(len(BARS) - 1) * count // highest)] for count in counts)


def _tokens(tokens: Sequence[str], effects: Sequence[float]) -> str:
    if len(effects) != len(tokens):
        return ", ".join(visible(token).strip() for token in tokens)
    pairs = zip(tokens, effects, strict=True)
    return ", ".join(f"{visible(token).strip(' ') or '␣'} ({effect:+.2f})" for token, effect in pairs)


def _f1(label: FeatureLabel) -> str:
    return "" if label.f1 is None else f"  (F1 {label.f1:.2f})"


def _tested(score: LabelScore) -> str:
    other = "" if score.shuffled is None else f"; another feature's label: {score.shuffled:.2f}"
    return (
        f"as a sign of activation at {score.n} + {score.n} unseen positions: balanced accuracy "
        f"{score.balanced_accuracy:.2f}, precision {score.precision:.2f}, recall {score.recall:.2f}{other}"
    )


def score_table(scores: Sequence[LabelScore]) -> Table:
    """Labels and their scores."""
    table = Table(box=None, pad_edge=False)
    for name in ("feature", "label", "tested at", "balanced accuracy", "precision", "recall", "shuffled"):
        table.add_column(name, justify="left" if name in ("feature", "label") else "right", overflow="fold")
    for one in scores:
        numbers = (one.balanced_accuracy, one.precision, one.recall, one.shuffled)
        cells = (f"{one.layer}/{one.feature_idx}", visible(one.text), f"{one.n} + {one.n}")
        shown = ("" if number is None else f"{number:.2f}" for number in numbers)
        table.add_row(*(Text(cell) for cell in (*cells, *shown)))
    return table


def _fact(name: str, value: str) -> Text:
    return Text(f"{name:<10}", style="cyan").append(value, style="not bold default")
