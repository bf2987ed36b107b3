import itertools
from dataclasses import replace

import pytest

from circuits.pocket_card import card_text, write_card
from circuits.pocket_scores import TaskScores
from replacement_model.pocket.accuracy import TaskAccuracy
from replacement_model.pocket.circuit_tests import CircuitTests
from replacement_model.pocket.evaluation import Evaluation, Hallucination, LabelCounts, TranscoderEvaluation
from replacement_model.pocket.reconstruction import Agreement, Reconstruction
from replacement_model.pocket.selection import Candidate
from replacement_model.pocket.steering import SteeringChoice, SteeringResult

SCORES = (
    TaskScores("clt", "two-hop", 3, 0.9123, 0.9876, 21.5, 3e-7),
    TaskScores("plt", "two-hop", 3, 0.5, 0.6, 40, 2e-7),
)


@pytest.fixture
def evaluation():
    tasks = (
        TaskAccuracy("two-hop", "held cities, capital", "test", 10, 0.9711, 0.9),
        TaskAccuracy("two-hop", "strict cities, capital", "test", 10, 0.8222, 0.8),
        TaskAccuracy("addition", "all", "test", 10, 0.9933, 0.9),
        TaskAccuracy("unknown person", "famous surname", "test", 10, 0.9444, 0.9),
    )
    found = Reconstruction(100, (0.01, 0.03), (7.0, 9.0), (1, 2))
    clt = TranscoderEvaluation(
        "pocket-clt",
        64,
        found,
        found,
        (Agreement("all", 10, 0.9555, 0.01), Agreement("all but addition", 8, 0.9999, 0.01)),
        SteeringResult(SteeringChoice(8, -1.0, 2.0, "last"), 20, 0.7654, 0.9),
        LabelCounts(30, 20, 14, 0.7),
    )
    tests = CircuitTests(200, 0.98, 0.21, 0.52, 0.01, 0.02)
    return Evaluation("test", 123456, tasks, Hallucination(300, 0.8, 0.7, 0.2), tests, (clt,))


def test_targets_say_whether_they_are_met(evaluation):
    text = card_text(evaluation, SCORES, {})
    for row in (
        "| two hops from held cities | >= 0.95 | 0.971 | yes |",
        "| two hops from strict cities, capital | >= 0.85 | 0.822 | **no** |",
        "| the worst other task (unknown person) | >= 0.95 | 0.944 | **no** |",
        "| two hops, MLPs zeroed at the last position | <= 0.5 | 0.520 | **no** |",
        "| mean FVU, all positions of unseen prompts | <= 0.06 | 0.020 | yes |",
        "| replacement score, worst task | >= 0.8 | 0.912 | yes |",
        "| steering swap | >= 0.5 | 0.765 | yes |",
    ):
        assert row in text


def test_every_part_reports_its_figures(evaluation):
    text = card_text(evaluation, SCORES, {})
    assert "123,456 parameters" in text
    assert "answers the family's sport in 0.800 of them" in text
    assert "| plt | two-hop | 3 | 0.500 | 0.600 | 40 | 2e-07 |" in text
    assert "| pocket-clt | 8 | -1 | 2 | last | 20 | 0.765 | 0.900 |" in text
    assert "30 features match a concept (mean F1 0.70), 20 match none, 14 are dead" in text


def test_seeds_are_listed_where_there_is_a_record(evaluation):
    one = Candidate(0, {"two-hop": 0.91, "addition": 0.99}, 0.9, 0.2, 0.3, 0.05, 9.5, 0.97)
    text = card_text(evaluation, SCORES, {0: one, 1: replace(one, seed=1, clt_agreement=0.98)})
    assert "is shipped: seed 1" in text
    assert "| 0 | 0.910 | 0.990 | 0.900 | 0.200 | 0.300 | 0.050 | 9.5 | 0.970 |" in text
    assert "## Seeds" not in card_text(evaluation, SCORES, {})


def test_tables_have_one_width(evaluation):
    lines = card_text(evaluation, SCORES, {}).splitlines()
    for before, line in itertools.pairwise(lines):
        if before.startswith("|") and line.startswith("|"):
            assert before.count("|") == line.count("|")


def test_the_card_is_written_whole(evaluation, tmp_path):
    path = tmp_path / "docs" / "card.md"
    write_card(evaluation, SCORES, path, tmp_path)
    assert path.read_text() == card_text(evaluation, SCORES, {})
    assert [one.name for one in path.parent.iterdir()] == ["card.md"]
