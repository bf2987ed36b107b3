"""Concepts of the pocket corpus as a predictor: since its world is known, it is known where a concept holds."""

from collections.abc import Sequence
from functools import cache

from replacement_model.evidence.rules import TextPosition, predict_by_rule
from replacement_model.pocket.concepts import ConceptTable, tabulate_concepts
from replacement_model.pocket.contexts import prefixes
from replacement_model.pocket.corpus import build_corpus

__all__ = ["predict_by_concept"]


def predict_by_concept(label: str, positions: Sequence[TextPosition]) -> list[bool] | None:
    """Whether the concept that a label names holds, at each position of the corpus's prompts; else as a rule.

    Places that are no beginning of a prompt have no concept. None if the label is neither a concept nor a rule.
    """
    table, rows, columns = _table()
    if label not in columns:
        return predict_by_rule(label, positions)
    wanted = [rows.get(position.tokens[1 : position.pos + 1]) for position in positions]
    column = table.holds[:, [columns[label]]].toarray()[:, 0] if positions else ()
    return [row is not None and bool(column[row]) for row in wanted]


@cache
def _table() -> tuple[ConceptTable, dict[tuple[str, ...], int], dict[str, int]]:
    """The concepts of all prompts, the row of each beginning, and the column of each concept."""
    prompts = build_corpus().prompts
    rows: dict[tuple[str, ...], int] = {}
    for prompt in prompts:
        for prefix in prefixes(prompt):
            rows.setdefault(prefix, len(rows))
    table = tabulate_concepts(prompts)
    return table, rows, {name: index for index, name in enumerate(table.names)}
