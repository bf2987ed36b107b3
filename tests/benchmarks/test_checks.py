import json
from pathlib import Path

import pytest

from benchmarks.checks import DOCS, RESULTS, compared, summarise, tables, write_tables
from circuits import attribute
from circuits.faithfulness.check import CheckSettings, check_circuits
from replacement_model import ReplacementModel


def test_the_document_shows_the_stored_results(tmp_path: Path) -> None:
    found = json.loads(RESULTS.read_text(encoding="utf-8"))["measured"]
    text = DOCS.read_text(encoding="utf-8")
    assert tables(found) in text
    copy = tmp_path / "copy.md"
    copy.write_text(text.replace(tables(found), "old\n"), encoding="utf-8")
    write_tables(found, copy)
    assert copy.read_text(encoding="utf-8") == text
    assert all(one["n_held"] == one["n_graphs"] == 96 for one in found["transcoders"].values())


@pytest.mark.slow
def test_numbers_are_means_of_checks() -> None:
    models = [ReplacementModel.from_pretrained("pocket", kind) for kind in ("clt", "plt")]
    graphs = [attribute(models[0], f"the opposite of {word} is") for word in ("small", "empty")]
    checks = check_circuits(models[0], graphs, models[1], CheckSettings(5, 10)).each
    found = summarise(checks)
    assert (found["n_graphs"], found["n_held"]) == (2, 2)
    row = next(
        one for one in found["effects"] if (one["mode"], one["chosen"], one["distance"]) == ("free", "graph", None)
    )
    cosines = [
        one.cosine for check in checks for one in check.downstream if one.mode == "free" and one.distance is None
    ]
    assert row["cosine"]["value"] == pytest.approx((cosines[0] + cosines[2]) / 2)
    pair = compared(checks)
    first, second = (check.comparison for check in checks)
    longer = [one.second.mean_length - one.first.mean_length for one in (first, second)]
    assert pair["longer"]["value"] == pytest.approx(sum(longer) / 2)
    assert pair["tokens"]["value"] == pytest.approx((first.tokens + second.tokens) / 2)
