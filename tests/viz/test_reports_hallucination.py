from dataclasses import replace
from pathlib import Path

import pytest

from circuits.studies.folder import StudyFolder
from circuits.studies.hallucination.inputs import PARTS
from circuits.studies.hallucination.prediction import Prediction
from circuits.studies.hallucination.reading import OUTCOMES
from circuits.studies.hallucination.separation import Separation
from circuits.studies.hallucination.steering import TESTS, Steered
from circuits.studies.hallucination.study import HallucinationResult, TranscoderResult
from circuits.studies.hallucination.supernodes import Member
from circuits.studies.statistics import Estimate
from viz import notebook
from viz.reports.hallucination.report import report, summary
from viz.reports.parts import FigurePart, Report, Table


def estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value, low, high, 40, 12, "bootstrap")


def prediction(name: str, population: str, above: Estimate | None) -> Prediction:
    return Prediction(
        name=name,
        population=population,
        n_inputs=3,
        chosen=0.7,
        auroc=estimate(0.75, 0.6, 0.9),
        above=above,
        above_answered=above if population == "all" else None,
        n_wrong=5,
        n_right=9,
        by_subset={"strangers": 0.7},
        leading={"number of things": 1.5},
        fpr=(0.0, 0.5, 1.0),
        tpr=(0.0, 0.8, 1.0),
    )


def transcoder_result(above: Estimate) -> TranscoderResult:
    rate, control = estimate(0.9, 0.8, 1.0), estimate(0.1, 0.0, 0.2)
    subsets = {"strangers": estimate(0.2, 0.1, 0.3), "namesakes": estimate(0.95, 0.9, 1.0)}
    return TranscoderResult(
        name="clt",
        counts=({"split": "score", "subset": "strangers", "outcome": OUTCOMES[2], "n": 4},),
        confident={"choose": 1, "score": 2},
        supernode=(Member("last", 2, 7, 3.0, 2.0, {OUTCOMES[0]: 0.75}),),
        labels=("",),
        inputs=tuple(
            {
                "feature": "L2 #7, last",
                "outcome": outcome,
                "n": 4,
                "pre_activation": 0.5 * len(PARTS),
                "active": 1.0,
                "parts": dict.fromkeys(PARTS, 0.5),
            }
            for outcome in OUTCOMES
        ),
        strongest=dict.fromkeys(OUTCOMES, (1.0, 2.0)),
        separation=(Separation(OUTCOMES[0], OUTCOMES[2], "last", 2, 7, -1, 0.9, estimate(0.8, 0.7, 0.9), 40, 3, 2),),
        steering=tuple(
            Steered(test.name, {"1": 0.5}, {"1": 0.1}, 1.0, rate, control, subsets, 0.0, 2.0) for test in TESTS
        ),
        prediction=tuple(
            prediction(name, population, None if name == "entropy" else above)
            for population in ("all", "answered")
            for name in ("entropy", "structure")
        ),
        examples=(),
        shown=(),
    )


def made(above: Estimate, folder: StudyFolder) -> Report:
    return report(HallucinationResult(False, 30, 10, (transcoder_result(above),)), folder)


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return StudyFolder.open(tmp_path / "out", "hallucination", {}, {})


@pytest.mark.parametrize(
    ("above", "answer"),
    [
        (estimate(0.2, 0.1, 0.3), "**yes**, above"),
        (estimate(0.05, -0.1, 0.2), "**not shown to be** above"),
        (estimate(-0.2, -0.3, -0.1), "**no**, below"),
    ],
)
def test_the_summary_says_whether_the_graph_beats_the_entropy(
    above: Estimate, answer: str, folder: StudyFolder
) -> None:
    lines = made(above, folder).summary.splitlines()
    assert sum(answer in line for line in lines) == 2  # all prompts, and the answered ones
    assert any(
        "declines in **0.900 (0.800 to 1.000)** of 40 prompts, with random features in 0.100" in one for one in lines
    )
    assert any("strangers 0.20, namesakes 0.95" in line for line in lines)


def test_what_a_quick_run_shows_is_called_a_look(folder: StudyFolder) -> None:
    result = HallucinationResult(True, 30, 10, (transcoder_result(estimate(0.2, 0.1, 0.3)),))
    assert "quick look" in report(result, folder).summary


def test_tables_hold_the_numbers_and_no_section_is_empty(folder: StudyFolder) -> None:
    found = made(estimate(0.2, 0.1, 0.3), folder)
    assert all(section.parts for section in found.sections)
    tables = [part for section in found.sections for part in section.parts if isinstance(part, Table)]
    cells = {cell for table in tables for row in table.rows for cell in row}
    assert {"L2 #7, last", "0.800 (0.700 to 0.900)", "+0.200 (+0.100 to +0.300)", "number of things +1.50"} <= cells
    assert not any(section.heading == "Examples" for section in found.sections)


@pytest.mark.slow
def test_every_figure_is_drawn(folder: StudyFolder) -> None:
    result = transcoder_result(estimate(0.2, 0.1, 0.3))
    two = HallucinationResult(False, 30, 10, (result, replace(result, name="plt")))
    parts = [part for section in report(two, folder).sections for part in section.parts]
    drawn = [part.draw() for part in parts if isinstance(part, FigurePart) and callable(part.draw)]
    assert len(drawn) == 2 * 4 + 1


def test_a_notebook_shows_the_summary() -> None:
    result = HallucinationResult(True, 30, 10, (transcoder_result(estimate(0.2, 0.1, 0.3)),))
    assert notebook.text(result) == summary(result)
    assert "<strong>A quick look at a few prompts: its numbers mean little.</strong>" in notebook.html(result)
