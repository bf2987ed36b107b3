"""What a check is told as: in the terminal, as a page, and as a figure."""

import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from circuits import FeatureTarget, attribute
from circuits.faithfulness.check import Checks, CheckSettings, check_circuits
from replacement_model import ReplacementModel
from viz.faithfulness import check_markdown, check_summary, findings
from viz.figures import figure_bytes
from viz.figures.check import check_figure

PROMPTS = ("the capital of the state containing Dallas is", "the opposite of small is")


@pytest.fixture(scope="module")
def pocket() -> ReplacementModel:
    return ReplacementModel.from_pretrained("pocket")


@pytest.fixture(scope="module")
def checks(pocket: ReplacementModel) -> Checks:
    other = ReplacementModel.from_pretrained("pocket", "plt")
    return check_circuits(pocket, [attribute(pocket, prompt) for prompt in PROMPTS], other, CheckSettings(5, 40))


def shown(checks: Checks) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(check_summary(checks))
    return console.file.getvalue()


def test_every_part_is_told(checks: Checks) -> None:
    one = checks.each[0]
    found = {finding.title: finding for finding in findings(one)}
    assert [finding.verdict for finding in found.values()] == ["holds", "holds", *["measured"] * 4]
    assert "5 influential features and 5 drawn by chance" in found["Direct effects"].text
    assert f"Spearman {one.ablation.spearman['influence']:.2f}" in found["Influence and ablation"].text
    assert f"40 of {one.n_active}" in found["Influence and ablation"].text
    assert f"{one.stability.edge_jaccard:.0%} of their edges" in found["Stability"].text
    assert "both most to Dallas" in found["Another transcoder"].text
    text = shown(checks)
    for part in (*PROMPTS, "explains Austin", "Over 2 prompts", checks.ablation.mean["influence"].text, "in all 2"):
        assert part in text


def test_a_failure_is_not_overlooked(checks: Checks) -> None:
    one = checks.each[0]
    direct = replace(one.direct, worst=37.0, source="1_2_3", target="4_5_6")
    record = replace(one.record, activations=0.5)
    failed = replace(checks, each=(replace(one, direct=direct, record=record), checks.each[1]))
    text = shown(failed)
    assert text.count("FAILS") == 2
    for part in ("1_2_3 on 4_5_6", "37 times", "trace the prompt again", "not of this model", "in 1 of 2 graphs"):
        assert part in " ".join(text.split())
    assert "**Direct effects: FAILS.**" in check_markdown(failed)


def test_the_page_holds_tables_and_escapes(checks: Checks) -> None:
    one = replace(checks.each[0], prompt="a *bold* <b>prompt</b> | with\nlines")
    page = check_markdown(replace(checks, each=(one,)))
    assert "## a \\*bold\\* \\<b\\>prompt\\</b\\> \\| with↵lines" in page
    assert "| graph | iterative | 1 layer on |" in page
    assert f"| influence | {checks.ablation.mean['influence'].text} |  |" in page


@pytest.mark.parametrize("n_graphs", [1, 2])
def test_the_figure_shows_every_measure(checks: Checks, n_graphs: int) -> None:
    some = replace(checks, each=checks.each[:n_graphs], ablation=checks.ablation if n_graphs > 1 else None)
    figure = check_figure(some)
    labels = {axes.get_xlabel() for axes in figure.axes} | {axes.get_ylabel() for axes in figure.axes}
    assert {"influence on the target", "Spearman with ablation", "cosine", "node threshold", "layer"} <= labels
    assert [text.get_text() for text in figure.axes[-1].get_legend().get_texts()] == ["pocket-clt", "pocket-plt"]
    scatter, bars, *_ = figure.axes
    ablations = [one.ablation for one in some.each]
    drawn = sum(int(((one.predictions["influence"] > 0) & (one.effects != 0)).sum()) for one in ablations)
    assert len(scatter.lines[0].get_xdata()) == drawn
    assert bars.patches[0].get_height() == pytest.approx(np.mean([one.spearman["influence"] for one in ablations]))


@pytest.mark.slow
def test_the_figure_has_equal_bytes(checks: Checks) -> None:
    svg = figure_bytes(check_figure(checks), "svg")
    assert b"influence on the target" in svg
    assert svg == figure_bytes(check_figure(checks), "svg")


def test_a_feature_target_is_told_and_drawn_without_ablation(pocket: ReplacementModel) -> None:
    found = check_circuits(pocket, [attribute(pocket, PROMPTS[1], [FeatureTarget(2, 7)])], None, CheckSettings(3))
    assert "Influence and ablation" not in shown(found)
    assert len(check_figure(found).axes) == 2
