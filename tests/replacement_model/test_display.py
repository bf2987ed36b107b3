from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from own_metadata import write_metadata

from replacement_model import display
from replacement_model.display import Displayed


@dataclass(frozen=True, slots=True)
class Result(Displayed):
    value: int


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    display._drawer.cache_clear()
    yield
    display._drawer.cache_clear()


def test_without_anybody_who_draws_it_is_the_repr(monkeypatch) -> None:
    monkeypatch.setattr(display, "entry_points", lambda **_: ())
    assert Result(3)._repr_html_() is None
    assert Result(3)._repr_mimebundle_() == {}


def test_who_draws_is_found_by_the_entry_points_of_this_project(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(write_metadata(tmp_path))
    assert Result(3)._repr_mimebundle_() == {"text/plain": "Result(value=3)"}  # viz knows nothing better of this class
    assert "<pre" in Result(3)._repr_html_()
    loaded = display._drawer("html")
    assert loaded.__module__ == "viz.notebook"


def test_it_adds_nothing_to_a_value() -> None:
    assert not hasattr(Result(3), "__dict__")
