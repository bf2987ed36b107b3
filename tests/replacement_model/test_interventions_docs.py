"""The examples of the page on interventions hold."""

import doctest
from pathlib import Path


def test_the_examples_of_the_page_hold(repository: Path) -> None:
    page = repository / "docs" / "interventions.md"
    result = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert result.attempted >= 8
    assert result.failed == 0
