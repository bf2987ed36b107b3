"""Numbers that may be unknown: NaN in a graph that was read from another program's file, null in JSON."""

import math
from typing import Any

from circuits.graph import Graph

__all__ = ["known", "origin_note", "shown"]


def known(value: Any) -> float | None:
    """The number for JSON, None where it is NaN."""
    number = float(value)
    return None if math.isnan(number) else number


def shown(value: float | None, spec: str) -> str:
    """The number for people, a dash where it is unknown.

    >>> shown(0.5, ".2f"), shown(float("nan"), ".2f"), shown(None, ".2f")
    ('0.50', '–', '–')
    """
    return "–" if value is None or math.isnan(value) else format(value, spec)


def origin_note(graph: Graph) -> str | None:
    """What to know about a graph that was read from graph JSON; None for any other.

    Who wrote it, that influence is computed from the edges in the file, and what the file does not hold.
    """
    origin = graph.read_from
    if origin is None:
        return None
    maker = " ".join(str(origin[key]) for key in ("producer", "version") if origin.get(key))
    missing = ", ".join(map(str, origin.get("not_in_file") or ()))
    notes = "".join(f" {note}." for note in origin.get("notes") or ())
    whose = "a program that it does not name" if maker == "unknown" else maker
    return (
        f"Read from a graph file of {whose}: influence and scores are computed from the edges in it. "
        f"Not in the file: {missing}.{notes}"
    )
