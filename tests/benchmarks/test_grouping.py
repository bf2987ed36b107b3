import json

import numpy as np
import pytest

from benchmarks.grouping import DOCS, RESULTS, Case, _choose, _report, table, write_table


def case(seed: int, n_matched: int = 12) -> Case:
    """Two clear groups by activation, which are the concepts; decoder rows say nothing."""
    rng = np.random.default_rng(seed)
    own = rng.permutation(np.arange(12) % 2)
    same = np.where(own[:, None] == own, 0.9, 0.0)
    np.fill_diagonal(same, 1.0)
    parts = dict.fromkeys(("incoming", "outgoing", "decoder"), np.full((12, 12), 0.5)) | {"activation": same}
    rows = {"good": rng.normal(size=(12, 1)) + 100 * own[:, None], "bad": rng.normal(size=(12, 3))}
    return Case("task", parts, rows, np.array(["one", "two"])[own], np.arange(12) < n_matched)


def test_the_baseline_gets_the_rows_that_serve_it_best() -> None:
    chosen = _choose([case(seed) for seed in range(4)])
    assert chosen["baseline"] == "good"
    assert chosen["baseline_ami"]["good"] == pytest.approx(1.0)
    assert chosen["ami"]["activation 8"] == pytest.approx(1.0)


def test_a_report_compares_at_the_same_number_of_groups() -> None:
    report = _report([*(case(seed) for seed in range(8)), case(9, n_matched=2)], "bad")
    assert (report["prompts"], report["skipped"], report["groups"]) == (8, 1, 2.0)
    assert report["ami"]["mean"] == pytest.approx(1.0)
    assert report["difference"]["mean"] == pytest.approx(1.0 - report["k_means"]["mean"])
    assert report["difference"]["low"] <= report["difference"]["mean"] <= report["difference"]["high"]
    assert abs(report["k_means"]["mean"]) < 0.4


def test_the_document_shows_the_stored_results(tmp_path) -> None:
    found = json.loads(RESULTS.read_text(encoding="utf-8"))["measured"]
    text = DOCS.read_text(encoding="utf-8")
    assert table(found) in text
    copy = tmp_path / "copy.md"
    copy.write_text(text.replace(table(found), "old\n"), encoding="utf-8")
    write_table(found, copy)
    assert copy.read_text(encoding="utf-8") == text
