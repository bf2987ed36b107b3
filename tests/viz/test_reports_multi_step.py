import json
from pathlib import Path

import pytest

from circuits.studies.folder import StudyFolder
from circuits.studies.multi_step.contents import Content
from circuits.studies.multi_step.study import MultiStepResult, run
from circuits.studies.multi_step.table import load_table
from replacement_model import ReplacementModel
from tests.fixtures.city_table import city_table
from viz.figures import figure_bytes
from viz.reports import write_report
from viz.reports.multi_step.figures import contents_figure, rate_rows
from viz.reports.multi_step.report import report


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MultiStepResult]:
    place = tmp_path_factory.mktemp("report")
    given = city_table() | {"name": "cities"}
    given["experiments"] = [given["experiments"][0] | {"hops": {"first hop": ["city"]}, "compares_methods": True}]
    (place / "table.json").write_text(json.dumps(given), encoding="utf-8")
    model = ReplacementModel.from_pretrained("pocket", "plt")
    with StudyFolder.open(place / "study", "multi-step", {}, {}) as folder:
        result = run(folder, {"plt": model}, [load_table(place / "table.json")])
        folder.write_json("results.json", result.to_dict())
        write_report(report(result, folder), folder)
    return place / "study", result


def test_the_report_says_what_was_found(written: tuple[Path, MultiStepResult]) -> None:
    path, result = written
    markdown = (path / "report.md").read_text(encoding="utf-8")
    (one,) = result.experiments
    swap, control = one.arm("swap", "first hop"), one.arm("swap", "first hop", control=True)
    rates = f"(plt: {swap.success.low:.0%} to {swap.success.high:.0%}; random features {control.success.value:.0%})"
    assert f"in **{swap.success.value:.0%}** of 2 swaps {rates}" in markdown
    for heading in ("How it was done", "Two hops: city, state, capital", "Examples", "Limits"):
        assert f"## {heading}\n" in markdown
    assert "| Sacramento |" in markdown
    names = {file.name for file in (path / "figures").iterdir()}
    assert {f"cities-{name}.{end}" for name in ("rates", "sizes", "graph-1") for end in ("svg", "pdf")} <= names
    assert "Texas" in (path / "figures" / "cities-graph-1.svg").read_text(encoding="utf-8")


def test_rows_of_the_plot(written: tuple[Path, MultiStepResult]) -> None:
    (row,) = rate_rows(written[1].experiments)
    assert row.label == "state, first hop"
    (one,) = written[1].experiments
    expected = one.arm("swap", "first hop").success, one.arm("swap", "first hop", control=True).success
    assert row.rates == {"plt": expected}


def test_what_features_carry_is_drawn_the_same_twice() -> None:
    contents = {"clt": (Content("last", 2, {"carry": 0.25, "none of these": 0.75}, {"carry": 1, "none of these": 2}),)}
    svg = figure_bytes(contents_figure(contents), "svg")
    assert svg == figure_bytes(contents_figure(contents), "svg")
    for text in (b"last, layer 2", b"carry", b"none of these"):
        assert text in svg
