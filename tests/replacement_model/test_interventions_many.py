"""Many interventions at once against the same ones, each alone."""

import pytest
import torch
from tiny_models import ACTIVATIONS, PROMPT, SITES, TAPS, tiny_model, tiny_transcoder

from replacement_model import InputError, ReplacementModel
from replacement_model.interventions import Conditions, Feature, Intervention, intervene, intervene_many, observe
from replacement_model.interventions.many import effects_of_many

CONDITIONS = (
    Conditions("free"),
    Conditions("free", frozen_attention=False),
    Conditions("free", frozen_norms=True),
    Conditions("direct"),
    Conditions("direct", layers=(1, 2)),
    Conditions("direct", layers=(0,), frozen_attention=False),
    Conditions("iterative"),
    Conditions("iterative", frozen_attention=False, frozen_norms=False),
)
MANY = (
    Intervention.set(Feature(0, 3, 2), 2.5),
    (Intervention.scale("0/4/7", -1.5), Intervention.add(Feature(1, 3, -4), 1.25)),
    Intervention.set("2/*/11", 1.75),
    [Intervention.set("0/2:/5", 1.5), Intervention.set("0/-1/5", -1.0), Intervention.ablate("0/-1/6")],
    Intervention.add([(1, 6, 20), (0, 6, 20)], 2.0),
)
TOLERANCES = {torch.float32: 1e-6, torch.float64: 1e-12}


def kind_of(index: int) -> dict[str, object]:
    return {
        "cross_layer": bool(index % 2),
        "activation": ACTIVATIONS[index % len(ACTIVATIONS)],
        "skip": index % 3 != 0,
        "tap": TAPS[index % 3],
        "site": SITES[(index // 2) % 2],
    }


def one_by_one(model: ReplacementModel, prompt: object, conditions: Conditions) -> torch.Tensor:
    return torch.cat([intervene(model, prompt, one, conditions).logits_after for one in MANY])


@pytest.mark.parametrize(("architecture", "first"), [("gemma3", 0), ("gpt_neox", 1), ("gpt2", 2), ("qwen3_moe", 3)])
def test_together_is_each_alone(architecture: str, first: int) -> None:
    for index, conditions in enumerate(CONDITIONS[first % 2 :: 2]):
        dtype = (torch.float64, torch.float32)[index % 2]
        model = tiny_model(architecture, dtype, tiny_transcoder(**kind_of(index + first), dtype=dtype))
        observed = observe(model, PROMPT)
        alone = one_by_one(model, observed, conditions)
        together = intervene_many(model, observed, MANY, conditions)
        atol = TOLERANCES[dtype] * max(1.0, float(alone.abs().max()))
        torch.testing.assert_close(together, alone, rtol=0, atol=atol)
        if conditions.layers is None:
            assert float((together[1:] - together[:-1]).abs().max(1).values.min()) > 1e-4  # each row is its own


@pytest.mark.parametrize("mode", ["iterative", "direct"])
def test_the_batch_size_changes_nothing_and_the_last_position_counts(mode: str) -> None:
    model = tiny_model("gemma2")
    observed = observe(model, PROMPT, (2, 5))
    expected = torch.stack([intervene(model, observed, one, mode).logits_after[-1] for one in MANY])
    for batch_size in (2, None):
        given = intervene_many(model, observed, MANY, mode, batch_size=batch_size)
        torch.testing.assert_close(given, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(
        intervene_many(model, PROMPT, MANY, mode), one_by_one(model, PROMPT, Conditions(mode)), rtol=0, atol=1e-12
    )


def test_layers_without_features() -> None:
    model = tiny_model("gemma3", transcoder=tiny_transcoder(cross_layer=False, skip=True, missing=(1,)))
    many = [Intervention.set("0/2/3", 2.5), Intervention.set("2/3/3", 2.5)]
    for mode in ("free", "iterative", "direct"):
        alone = torch.cat([intervene(model, PROMPT, one, mode).logits_after for one in many])
        torch.testing.assert_close(intervene_many(model, PROMPT, many, mode), alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("transcoder", ["clt", "plt"])
def test_the_pocket_model(transcoder: str) -> None:
    model = ReplacementModel.from_pretrained("pocket", transcoder=transcoder)
    observed = observe(model, "the capital of the state containing Dallas is")
    many = [
        Intervention.ablate([(layer, int(pos), int(idx))])
        for layer, acts in observed.acts.items()
        for pos, idx in zip(acts.pos[::40], acts.feature_idx[::40], strict=True)
    ]
    for mode in ("free", "iterative", "direct"):
        alone = torch.cat([intervene(model, observed, one, mode).logits_after for one in many])
        scale = max(1.0, float(alone.abs().max()))
        torch.testing.assert_close(intervene_many(model, observed, many, mode), alone, rtol=0, atol=1e-6 * scale)


def test_nothing_gives_no_rows_and_what_is_wrong_is_refused() -> None:
    model = tiny_model()
    assert intervene_many(model, PROMPT, []).shape == (0, model.host.d_vocab)
    with pytest.raises(InputError, match="no interventions given"):
        intervene_many(model, PROMPT, [Intervention.ablate("1/-1/3"), []])
    with pytest.raises(InputError, match="layer 3 does not exist"):
        intervene_many(model, PROMPT, [Intervention.ablate("3/-1/3")])
    with pytest.raises(InputError, match="batch_size must be at least 1, got 0"):
        intervene_many(model, PROMPT, [Intervention.ablate("1/-1/3")], batch_size=0)
    with pytest.raises(InputError, match="another model"):
        intervene_many(model, observe(tiny_model(), PROMPT), [Intervention.ablate("1/-1/3")])
    with pytest.raises(InputError, match="layer 9 does not exist"):
        intervene_many(model, PROMPT, [Intervention.ablate("1/-1/3")], Conditions("direct", layers=(9,)))


@pytest.mark.parametrize("mode", ["free", "iterative"])
def test_rounding_of_what_is_held_is_no_effect_in_half_precision(mode: str) -> None:
    model = ReplacementModel.from_pretrained("pocket", dtype=torch.bfloat16)
    observed = observe(model, "the opposite of small is")
    nothing = [Intervention.add("0/-1/0", 0.0)]
    (plain,) = effects_of_many(observed, nothing, Conditions(mode))
    (against,) = effects_of_many(observed, nothing, Conditions(mode), against_unedited=True)
    assert not torch.equal(plain.logits, observed.capture.logits[None])
    torch.testing.assert_close(against.logits, observed.capture.logits[None], rtol=0, atol=1e-6)
