"""`orrery intervene` on the pocket model, and what it refuses."""

import json

import pytest

from replacement_model import Conditions, Intervention, ReplacementModel
from replacement_model import intervene as run

PROMPT = "the capital of the state containing Dallas is"
FEATURE = "1/-1/1006"


def test_it_prints_what_changed(orrery) -> None:
    outcome = orrery("intervene", PROMPT, "--feature", FEATURE, "--ablate", "--generate", "2")
    assert outcome.code == 0
    for part in (
        f"ablate {FEATURE}",
        "mode free",
        "Houston",
        "Austin",
        "1/8/1006",
        "before: Austin",
        "after:  Houston",
    ):
        assert part in outcome.stdout


@pytest.mark.parametrize(
    ("options", "change", "conditions"),
    [
        (("--set", "2.5"), Intervention.set(FEATURE, 2.5), Conditions()),
        (("--scale", "-1", "--mode", "direct"), Intervention.scale(FEATURE, -1), Conditions("direct")),
        (("--add", "1", "--mode", "iterative"), Intervention.add(FEATURE, 1), Conditions("iterative")),
        (
            ("--ablate", "--mode", "direct", "--layers", "1,2", "--live-attention"),
            Intervention.ablate(FEATURE),
            Conditions("direct", (1, 2), frozen_attention=False),
        ),
        (
            ("--swap", "the capital of California is", "--read-at", "-1"),
            Intervention.swap(FEATURE, prompt="the capital of California is", read_at=-1),
            Conditions(),
        ),
    ],
    ids=lambda one: getattr(one, "text", None) or "",
)
def test_every_operation_is_that_of_the_library(
    orrery, options: tuple[str, ...], change: Intervention, conditions: Conditions
) -> None:
    outcome = orrery("intervene", PROMPT, "-f", FEATURE, *options, "--json")
    expected = run(ReplacementModel.from_pretrained("pocket"), PROMPT, change, conditions)
    assert json.loads(outcome.stdout) == json.loads(json.dumps(expected.to_dict()))
    assert expected.raised


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "say what to change and how"),
        (("-f", FEATURE), "one of --set, --scale"),
        (("--ablate",), "--feature"),
        (("-f", FEATURE, "--ablate", "--set", "1"), "one of --set, --scale"),
        (("-f", "1006", "--ablate"), "LAYER/POSITIONS/INDEX"),
        (("-f", "7/-1/3", "--ablate"), "layer 7 does not exist"),
        (("-f", "1/99/3", "--ablate"), "position 99 is outside the prompt"),
        (("-f", "1/-1/999999", "--ablate"), "choose one of them"),
        (("-f", FEATURE, "--ablate", "--mode", "frozen"), "mode must be one of direct, iterative, free"),
        (("-f", FEATURE, "--ablate", "--layers", "1"), "mode direct holds"),
        (("-f", FEATURE, "--ablate", "--mode", "direct", "--layers", "one"), "expected layers as in"),
        (("-f", FEATURE, "--ablate", "--read-at", "3"), "other prompt of --swap"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("without_shape_checks")
def test_what_is_refused(refuse, options: tuple[str, ...], says: str) -> None:
    refuse("intervene", PROMPT, *options, says=says)
