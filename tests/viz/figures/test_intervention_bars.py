import pytest

from replacement_model.errors import InputError
from replacement_model.interventions.result import TokenChange
from viz.figures.intervention_bars import BEFORE, changed_tokens, intervention_bars
from viz.figures.style import COLUMN, TEXT


def change(token: str, before: float, after: float) -> TokenChange:
    return TokenChange(token_id(token), token, before, after, 0.0, 0.0)


def token_id(token: str) -> int:
    return sum(map(ord, token))


CHANGES = [
    change(" Austin", 0.9984, 0.21),
    change(" Houston", 0.0, 0.354),
    change(" Massachusetts_Bay_Colony", 0, 1e-3),
]


@pytest.mark.parametrize(("width", "font"), [(COLUMN, "sans"), (TEXT, "serif")])
def test_text_stays_inside_and_apart(faults, width: float, font: str):
    assert faults(intervention_bars(CHANGES, width=width, font=font)) == []


def test_bars_are_the_probabilities(faults):
    figure = intervention_bars(CHANGES)
    before, after = figure.axes[0].containers
    assert [bar.get_width() for bar in before] == [0.9984, 0.0, 0.0]
    assert [bar.get_width() for bar in after] == [0.21, 0.354, 1e-3]
    assert {(bar.get_hatch() is None) for bar in before} == {False}
    assert {(bar.get_hatch() is None) for bar in after} == {True}
    assert after[0].get_facecolor() != BEFORE
    assert {"99.8%", "21.0%", "0.0%"} <= {text.get_text() for text in figure.axes[0].texts}


def test_no_tokens_are_refused():
    with pytest.raises(InputError, match="expected tokens whose probability changes"):
        intervention_bars([])


def test_the_largest_changes_are_drawn_likeliest_first():
    rising = [change("u" * i, 0.01 * i, 0.02 * i + 0.001) for i in range(1, 10)]
    chosen = changed_tokens([*rising, change("down", 0.6, 0.1), change("same", 0.2, 0.2)])
    assert [one.token for one in chosen] == ["down", *("u" * i for i in range(9, 2, -1))]
