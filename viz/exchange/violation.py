"""A broken rule as a value, and the bounded list of them that a check fills."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from viz.exchange.rules import RULES

__all__ = ["Findings", "Violation", "pointer"]

MAX_OF_A_RULE = 20
MAX_TEXT = 80


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule.

    Attributes:
        rule: a key of `RULES`.
        level: `error`, or `warning` where only one program needs it.
        where: JSON pointer into the file, empty for the file itself.
        got: what is there, shortened.
        advice: what to do about it.
        hidden: how many more places break the same rule and are not listed; only on the last of them.
    """

    rule: str
    level: str
    where: str
    expected: str
    got: str
    advice: str
    hidden: int = 0

    def __str__(self) -> str:
        more = f" (and {self.hidden:,} more of this rule)" if self.hidden else ""
        return f"{self.rule} at {self.where or '/'}: expected {self.expected}, got {self.got}; {self.advice}{more}"


class Findings:
    """Collects violations; of each rule at most `limit` are kept, the others counted."""

    def __init__(self, limit: int = MAX_OF_A_RULE) -> None:
        self._limit = limit
        self._kept: dict[str, list[Violation]] = {}
        self._counts: Counter[str] = Counter()

    def add(self, rule: str, where: str, expected: str, got: Any, note: str = "") -> None:
        """Note that `rule` is broken at the JSON pointer `where`; `note` says more than the rule's own advice."""
        self._counts[rule] += 1
        kept = self._kept.setdefault(rule, [])
        if len(kept) < self._limit:
            level, advice = RULES[rule]
            kept.append(Violation(rule, level, where, expected, _shown(got), f"{advice}{note and '; '}{note}"))

    def require(self, holds: bool, rule: str, where: str, expected: str, got: Any) -> bool:
        """Note the violation unless `holds`, which is returned."""
        if not holds:
            self.add(rule, where, expected, got)
        return holds

    def all(self) -> list[Violation]:
        """Errors, then warnings, by rule in the order of first appearance."""
        found = []
        for rule, kept in self._kept.items():
            *first, last = kept
            hidden = self._counts[rule] - len(kept)
            found += [
                *first,
                Violation(last.rule, last.level, last.where, last.expected, last.got, last.advice, hidden),
            ]
        return sorted(found, key=lambda one: one.level != "error")


class Missing:
    """Stands for a value that is not there."""

    def __repr__(self) -> str:
        return "nothing"


def pointer(*parts: str | int) -> str:
    """A JSON pointer (RFC 6901).

    >>> pointer("nodes", 3, "a/b")
    '/nodes/3/a~1b'
    """
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts)


def _shown(value: Any) -> str:
    """The value for people; long texts, lists and objects by their size."""
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} with {len(value)} entries"
    if isinstance(value, int) and value.bit_length() > 200:
        return f"an integer of {value.bit_length()} bits"
    text = repr(value[: MAX_TEXT + 1] if isinstance(value, str) else value)
    return text if len(text) <= MAX_TEXT + 2 else f"{text[:MAX_TEXT]}…"
