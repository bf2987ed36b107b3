"""Labels that say what they predict, so that they can be tested offline.

token: Dallas           active at this token (surrounding spaces do not count); `word: Dallas` is the same
tokens: Dallas | Austin at any of these
position: 3             at this position; 0 is the first token, special ones included
/ing$/                  where a match of this regular expression, in the text so far, reaches into the token
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from replacement_model.errors import InputError
from replacement_model.evidence.record import FeatureEvidence

__all__ = ["TextPosition", "parse_rule", "predict_by_rule", "token_label"]

MAX_TOKENS, MIN_COVERED = 4, 0.9


@dataclass(frozen=True, slots=True)
class TextPosition:
    """A place in a text: the tokens of its context, and which of them is meant."""

    tokens: tuple[str, ...]
    pos: int


Rule = Callable[[TextPosition], bool]


def predict_by_rule(label: str, positions: Sequence[TextPosition]) -> list[bool] | None:
    """Whether the label says that the feature is active, at each position; None if the label is no rule.

    >>> predict_by_rule("token: is", [TextPosition(("here", " is"), 1), TextPosition(("here", " is"), 0)])
    [True, False]
    """
    rule = parse_rule(label)
    return None if rule is None else [rule(position) for position in positions]


def parse_rule(label: str) -> Rule | None:
    """The predicate that a label states, None if it states none.

    Raises:
        InputError: a regular expression that is none, or a position that is no number.
    """
    if len(label) > 2 and label.startswith("/") and label.endswith("/"):
        return _matching(label[1:-1])
    kind, colon, what = label.partition(": ")
    if not colon:
        return None
    if kind in ("token", "word"):
        return _one_of((what.strip(),))
    if kind == "tokens":
        return _one_of(tuple(token.strip() for token in what.split(" | ")))
    if kind == "position":
        if not what.isdecimal():
            raise InputError(f"expected a label such as 'position: 3', got {label!r}")
        return lambda position: position.pos == int(what)
    return None


def token_label(evidence: FeatureEvidence) -> str | None:
    """A labeller: the few tokens at which nearly all examples peak, None where they are many.

    Sampled examples count, not only the strongest: a feature is often strongest at one token and active at a hundred.
    """
    peaks = Counter(_bare(example.tokens[example.peak]) for example in evidence.examples)
    common = peaks.most_common(MAX_TOKENS)
    # Ties in the alphabet's order, so that the label does not depend on the order of the examples.
    tokens = sorted(token for token, _ in common)
    if not all(tokens) or sum(count for _, count in common) < MIN_COVERED * peaks.total():
        return None
    return f"token: {tokens[0]}" if len(tokens) == 1 else f"tokens: {' | '.join(tokens)}"


def _one_of(tokens: tuple[str, ...]) -> Rule:
    return lambda position: _bare(position.tokens[position.pos]) in tokens


def _matching(pattern: str) -> Rule:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(f"the label /{pattern}/ is no regular expression ({error})") from error

    def rule(position: TextPosition) -> bool:
        before = _spaced("".join(position.tokens[: position.pos]))
        text = before + _spaced(position.tokens[position.pos])
        return any(match.end() > len(before) for match in compiled.finditer(text))

    return rule


def _bare(token: str) -> str:
    return _spaced(token).strip()


def _spaced(text: str) -> str:
    """With spaces where a tokenizer shows them as a sign of its own."""
    return text.replace("▁", " ")
