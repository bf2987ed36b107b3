"""How features, supernodes and interventions are named, what they become, and what a result tells."""

import io
import json

import pytest
import torch
from rich.console import Console
from tiny_models import PROMPT, tiny_model, tiny_transcoder

from replacement_model import InputError
from replacement_model.interventions import (
    Conditions,
    Feature,
    Intervention,
    InterventionResult,
    Supernode,
    intervene,
    observe,
    result_table,
)

LIVE = Conditions("free", frozen_attention=False)


def same(first: InterventionResult, second: InterventionResult) -> bool:
    return torch.allclose(first.logits_after, second.logits_after, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("text", "feature"),
    [
        ("2/-1/1234", Feature(2, 1234, -1)),
        ("0/*/7", Feature(0, 7, None)),
        ("1/3:/7", Feature(1, 7, slice(3, None))),
        ("1/:6/7", Feature(1, 7, slice(None, 6))),
        ("1/-3:-1/7", Feature(1, 7, slice(-3, -1))),
    ],
)
def test_a_feature_is_its_text(text: str, feature: Feature) -> None:
    assert Feature.parse(text) == feature
    assert feature.text == text


@pytest.mark.parametrize("text", ["", "2/1", "2/x/3", "-1/2/3", "2/1/-3", "2/1:2:3/4", "a/b/c"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="LAYER/POSITIONS/INDEX"):
        Feature.parse(text)


@pytest.mark.parametrize(
    ("feature", "says"),
    [
        (Feature(3, 1, -1), "layer 3 does not exist; choose 0 to 2"),
        (Feature(1, 1, -1), "layer 1 has no features; those of layers 0, 2"),
        (Feature(2, 24, -1), "features 0 to 23"),
        (Feature(2, 1, 7), "position 7 is outside the prompt .*7: reaches generated"),
        (Feature(2, 1, -8), "position -8 is outside the prompt"),
        (Feature(2, 1, 0), "position 0 are not traced"),
        (Feature(2, 1, slice(4, 4)), "holds no position"),
        (Feature(2, 1, slice(1, 6, 2)), "no step"),
    ],
)
def test_what_does_not_exist_is_refused(feature: Feature, says: str) -> None:
    model = tiny_model(transcoder=tiny_transcoder(False, missing=(1,)))
    with pytest.raises(InputError, match=says):
        intervene(model, PROMPT, Intervention.ablate(feature))


@pytest.mark.usefixtures("without_shape_checks")
def test_nothing_to_do_is_refused() -> None:
    with pytest.raises(InputError, match="the set is empty"):
        Intervention.ablate([])
    with pytest.raises(InputError, match="the set is empty"):
        Intervention.set(Supernode("Texas", ()), 1.0)
    with pytest.raises(InputError, match="no interventions given"):
        intervene(tiny_model(), PROMPT, [])
    with pytest.raises(InputError, match="2 values for 1 features"):
        Intervention.set("1/-1/3", [1.0, 2.0])
    with pytest.raises(InputError, match="finite"):
        Intervention.scale("1/-1/3", float("nan"))
    with pytest.raises(InputError, match="expected a feature such as"):
        Intervention.ablate([3.5])
    with pytest.raises(InputError, match="mode must be one of direct, iterative, free"):
        Conditions("frozen")
    with pytest.raises(InputError, match="layers are those that mode direct holds"):
        Conditions("free", layers=(1,))
    with pytest.raises(InputError, match="layer 9 does not exist"):
        intervene(tiny_model(), PROMPT, Intervention.ablate("1/-1/3"), Conditions("direct", layers=(9,)))
    with pytest.raises(InputError, match="another model"):
        intervene(tiny_model(), observe(tiny_model(), PROMPT), Intervention.ablate("1/-1/3"))
    with pytest.raises(InputError, match="positions 0 to 6"):
        intervene(tiny_model(), PROMPT, Intervention.ablate("1/-1/3"), logit_positions=(7,))


def test_the_operations_are_what_they_say() -> None:
    model = tiny_model()
    observed = observe(model, PROMPT)
    active = observed.acts[1]
    place, act = (1, int(active.pos[-1]), int(active.feature_idx[-1])), float(active.acts[-1])
    doubled = intervene(model, observed, Intervention.scale([place], 2.0), LIVE)
    assert same(doubled, intervene(model, observed, Intervention.set([place], 2 * act), LIVE))
    assert same(doubled, intervene(model, observed, Intervention.add([place], act), LIVE))
    gone = intervene(model, observed, Intervention.ablate([place]), LIVE)
    assert same(gone, intervene(model, observed, Intervention.set([place], 0.0), LIVE))
    in_turn = [Intervention.set([place], 3.0), Intervention.scale([place], 2.0), Intervention.add([place], 2 * act - 6)]
    assert same(doubled, intervene(model, observed, in_turn, LIVE))
    change = next(one for one in doubled.changed if (one.layer, one.pos, one.feature_idx) == place)
    assert (change.before, change.after) == pytest.approx((act, 2 * act))


def test_a_supernode_is_its_features() -> None:
    model = tiny_model()
    features = (Feature(0, 3, -1), Feature(1, 5, -1), Feature(2, 7, -1))
    together = intervene(model, PROMPT, Intervention.set(Supernode("Texas", features), [1.0, 2.0, 3.0]))
    apart = [Intervention.set(one, value) for one, value in zip(features, (1.0, 2.0, 3.0), strict=True)]
    assert same(together, intervene(model, PROMPT, apart))
    assert together.interventions[0].text == "set Texas to 1 ... 3"
    assert Supernode("Texas", features).at(4).features[2] == Feature(2, 7, 4)


def test_ranges_begin_after_ignored_positions_and_cover_each_position() -> None:
    model = tiny_model()
    everywhere = intervene(model, PROMPT, Intervention.set("1/*/3", 2.0))
    one_by_one = intervene(model, PROMPT, [Intervention.set(f"1/{pos}/3", 2.0) for pos in range(1, 7)])
    assert same(everywhere, one_by_one)
    assert same(everywhere, intervene(model, PROMPT, Intervention.set("1/:/3", 2.0)))
    assert not same(everywhere, intervene(model, PROMPT, Intervention.set("1/:4/3", 2.0)))


def test_swaps_take_their_values_from_another_prompt_or_supernode() -> None:
    model, other = tiny_model(), [0, 8, 3, 3, 21, 30]
    there = observe(model, other)
    last = there.acts[1].pos == 5
    members = [Feature(1, int(idx), -1) for idx in there.acts[1].feature_idx[last][:3]]
    acts = tuple(there.acts[1].acts[last][:3].tolist())
    expected = intervene(model, PROMPT, Intervention.set(members, acts), LIVE)
    assert same(expected, intervene(model, PROMPT, Intervention.swap(members, prompt=other), LIVE))

    moved = [one.at(4) for one in members]
    read_elsewhere = Intervention.swap(moved, prompt=other, read_at=5)
    assert same(
        intervene(model, PROMPT, Intervention.set(moved, acts), LIVE), intervene(model, PROMPT, read_elsewhere, LIVE)
    )

    texas, california = Supernode("Texas", (Feature(0, 2, -1),)), Supernode("California", tuple(members), acts)
    by_hand = [Intervention.ablate(texas), Intervention.set(members, acts)]
    expected = intervene(model, PROMPT, by_hand, LIVE)
    assert same(expected, intervene(model, PROMPT, Intervention.swap(texas, california), LIVE))
    assert same(expected, intervene(model, PROMPT, Intervention.swap(texas, members, prompt=other), LIVE))
    assert Intervention.swap(texas, california).text == "swap Texas for California"


def test_swaps_without_values_are_refused() -> None:
    with pytest.raises(InputError, match="a swap needs values"):
        Intervention.swap("1/-1/3", by="1/-1/5")
    with pytest.raises(InputError, match="one each"):
        Supernode("Texas", (Feature(0, 2, -1),), (1.0, 2.0))
    with pytest.raises(InputError, match="read_at"):
        intervene(tiny_model(), PROMPT, Intervention.swap("1/2:/3", prompt=PROMPT))


def test_interventions_go_through_json() -> None:
    model = tiny_model()
    given = [
        Intervention.scale(Supernode("Texas", (Feature(0, 2, slice(3, None)),)), -1.0),
        Intervention.swap("0/-1/2", ["1/-1/5", "2/-1/6"], prompt=PROMPT[:4], read_at=-1),
        Intervention.swap("0/-2/2", Supernode("California", (Feature(1, 7, -1),), (2.0,))),
    ]
    again = [Intervention.from_dict(one) for one in json.loads(json.dumps([one.to_dict() for one in given]))]
    assert same(intervene(model, PROMPT, given), intervene(model, PROMPT, again))
    assert [one.text for one in again] == [one.text for one in given]
    for wrong in ({}, {"operation": "set", "features": ["1/-1/3"]}, {"operation": "cut", "features": []}):
        with pytest.raises(InputError):
            Intervention.from_dict(wrong)


def test_a_result_tells_what_changed() -> None:
    model = tiny_model("gemma2")
    observed = observe(model, PROMPT)
    result = intervene(model, observed, Intervention.set("1/-1/3", 4.0), LIVE, generate=2, n_top=4)
    capped = 6.0 * torch.tanh(result.logits_after / 6.0)
    torch.testing.assert_close(result.probabilities_after, capped.softmax(-1))
    best = result.probability_changes[-1].argmax()
    top = result.raised[0]
    assert top.token_id == int(best)
    assert top.token == model.token_string(top.token_id)
    assert top.probability_change == pytest.approx(float(result.probability_changes[-1, best]))
    assert [one.probability_change > 0 for one in result.raised] == [True] * 4
    assert [one.probability_change < 0 for one in result.lowered] == [True] * 4

    acts = {
        tuple(place): values
        for place, *values in zip(result.features.tolist(), result.acts_before, result.acts_after, strict=True)
    }
    assert acts[1, 6, 3][1] == 4.0
    assert all(place[0] >= 1 and place[1] == 6 for place in acts)
    assert [abs(one.change) for one in result.changed] == sorted(
        (abs(one.change) for one in result.changed), reverse=True
    )
    before = {
        (layer, int(pos), int(idx)): float(act)
        for layer, active in observed.acts.items()
        for pos, idx, act in zip(active.pos, active.feature_idx, active.acts, strict=True)
    }
    assert all(float(values[0]) == before.get(place, 0.0) for place, values in acts.items())

    summary = json.loads(json.dumps(result.to_dict()))
    assert summary["raised"][0]["token_id"] == top.token_id
    assert summary["continuation_after"] == result.after.text
    console = Console(file=io.StringIO(), width=100)
    console.print(result_table(result))
    shown = console.file.getvalue()
    for part in ("mode free; held: nothing else", "set 1/-1/3 to 4", top.token, "1/6/3", "before:", "after:"):
        assert part in shown


def test_watched_features_are_measured_active_or_not() -> None:
    model = tiny_model()
    watch = torch.tensor([[2, 6, 1], [0, 3, 4], [2, 5, 9]])
    result = intervene(model, PROMPT, Intervention.set("1/-1/3", 4.0), LIVE, watch=watch)
    pre_acts = torch.stack(
        [model.transcoder.pre_acts(layer, observe(model, PROMPT).tapped(layer)) for layer in range(3)]
    )
    torch.testing.assert_close(result.watched.pre_acts_before, pre_acts[tuple(watch.T)])
    change = result.watched.pre_acts_after - result.watched.pre_acts_before
    assert (change != 0).tolist() == [True, False, False]  # later, and at a position that is reached
    for wrong in ([[2, 7, 1]], [[3, 1, 1]], [[2, 1, 24]]):
        with pytest.raises(InputError, match="choose"):
            intervene(model, PROMPT, Intervention.set("1/-1/3", 4.0), watch=torch.tensor(wrong))
