"""The examples of the page on reports run, in a folder of their own."""

import json
import re
from pathlib import Path
from typing import Any

import pytest


def test_the_examples_of_the_page_run(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (repository / "docs" / "reports.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
    assert len(blocks) == 2
    assert "# My study" in (tmp_path / "my-study" / "report.md").read_text()
    (shown,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    stated, written = json.loads(shown), json.loads((tmp_path / "interventions.json").read_text())
    assert stated.keys() == written.keys()
    (case,), (made,) = stated["cases"], written["cases"]
    for when in ("before", "after"):
        (token, probability), (now, exact) = case["expected"][when][0], made["expected"][when][0]
        assert token == now
        assert probability == pytest.approx(exact, abs=1e-3)
    assert case["conditions"] == made["conditions"]
