"""How results show themselves in notebooks, without this package knowing who draws them.

A distribution that draws names two functions in its entry points `orrery.display`, `html` and `text`: from a value to
HTML and to plain text. They are looked up and loaded when a value is first shown in IPython or Jupyter. Where there are
none, a value is shown by its `repr`.
"""

from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from typing import Any

__all__ = ["GROUP", "Displayed"]

GROUP = "orrery.display"


class Displayed:
    """Base class of results that IPython shows as more than their `repr`; adds no attributes."""

    __slots__ = ()

    def _repr_html_(self) -> str | None:
        draw = _drawer("html")
        return None if draw is None else draw(self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """The text alone: IPython asks for this in a terminal too, for HTML only where it can be shown."""
        draw = _drawer("text")
        return {} if draw is None else {"text/plain": draw(self)}


@cache
def _drawer(form: str) -> Callable[[object], str] | None:
    found = next(iter(entry_points(group=GROUP, name=form)), None)
    return None if found is None else found.load()
