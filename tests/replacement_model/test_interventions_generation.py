"""Continuations with and without the cache are the same, and edits reach generated tokens."""

import pytest
import torch
from tiny_hosts import ARCHITECTURES
from tiny_models import PROMPT, SITES, TAPS, tiny_model, tiny_transcoder

from replacement_model import InputError, ReplacementModel
from replacement_model.interventions import Conditions, Feature, Intervention, intervene

N_TOKENS = 4
CONDITIONS = (
    Conditions("free"),
    Conditions("free", frozen_attention=False),
    Conditions("direct"),
    Conditions("direct", layers=(1, 2)),
    Conditions("iterative"),
)
EDITS = (
    Intervention.set(Feature(1, 3, slice(-2, None)), 2.5),
    Intervention.scale(Feature(0, 7), -1.0),
    Intervention.add(Feature(2, 9, slice(len(PROMPT) + 1, None)), 1.5),
)


def never_ending(model: ReplacementModel) -> ReplacementModel:
    model.host.model.generation_config.eos_token_id = None
    return model


def cases() -> list[tuple[str, Conditions]]:
    """Gemma 3, whose cache forgets, in every mode; the modes take turns with the others."""
    turns = [(architecture, CONDITIONS[index % len(CONDITIONS)]) for index, architecture in enumerate(ARCHITECTURES)]
    return [("gemma3", one) for one in CONDITIONS] + [turn for turn in turns if turn[0] != "gemma3"]


@pytest.mark.parametrize(("architecture", "conditions"), cases(), ids=lambda one: getattr(one, "text", one))
def test_the_cache_changes_nothing(architecture: str, conditions: Conditions) -> None:
    index = ARCHITECTURES.index(architecture) + CONDITIONS.index(conditions)
    transcoder = tiny_transcoder(bool(index % 2), "jumprelu", True, TAPS[index % 3], SITES[index % 2])
    model = never_ending(tiny_model(architecture, transcoder=transcoder))
    cached, plain = (
        intervene(model, PROMPT, EDITS, conditions, generate=N_TOKENS, use_cache=use_cache)
        for use_cache in (True, False)
    )
    assert len(cached.after.token_ids) == N_TOKENS
    for first, second in ((cached.before, plain.before), (cached.after, plain.after)):
        assert first.token_ids == second.token_ids
        torch.testing.assert_close(first.logits, second.logits, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(cached.before.logits, cached.after.logits, atol=1e-3)


def test_the_first_logits_are_those_of_the_prompt_and_the_host_generates_the_same_without_edits() -> None:
    model = never_ending(tiny_model("gemma3"))
    for conditions in CONDITIONS:
        result = intervene(model, PROMPT, EDITS, conditions, generate=N_TOKENS)
        torch.testing.assert_close(result.after.logits[0], result.logits_after[-1], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(result.before.logits[0], result.logits_before[-1], rtol=1e-9, atol=1e-9)
    by_host = model.host.model.generate(torch.tensor([PROMPT]), max_new_tokens=N_TOKENS, do_sample=False)
    assert tuple(by_host[0, len(PROMPT) :].tolist()) == result.before.token_ids


@pytest.mark.parametrize("use_cache", [True, False])
def test_generated_tokens_are_edited_exactly_where_the_range_is(use_cache: bool) -> None:
    model = never_ending(tiny_model("llama", transcoder=tiny_transcoder(False)))
    late = Intervention.add(Feature(1, 5, slice(len(PROMPT) + 2, len(PROMPT) + 4)), 40.0)
    result = intervene(model, PROMPT, late, generate=6, use_cache=use_cache)
    same = [torch.allclose(a, b, atol=1e-9) for a, b in zip(result.before.logits, result.after.logits, strict=True)]
    assert same == [True, True, True, False, False, False]  # row i reads position n_pos - 1 + i
    assert len(result.features) == 0


def test_generated_tokens_are_those_of_a_prompt_that_holds_them() -> None:
    """Live attention and MLPs: editing generated tokens is editing a longer prompt."""
    model = never_ending(tiny_model("gemma3"))
    live = Conditions("free", frozen_attention=False)
    made = intervene(model, PROMPT, EDITS[0], live, generate=N_TOKENS).after
    whole = [*PROMPT, *made.token_ids]
    edit = Intervention.set(Feature(1, 3, slice(len(PROMPT) - 2, None)), 2.5)
    longer = intervene(model, whole, edit, live, logit_positions=range(len(PROMPT) - 1, len(whole) - 1))
    torch.testing.assert_close(made.logits, longer.logits_after, rtol=1e-9, atol=1e-9)


def test_a_continuation_ends_where_the_model_ends_its_text() -> None:
    model = tiny_model("llama")
    model.host.model.generation_config.eos_token_id = None
    free = intervene(model, PROMPT, EDITS[0], generate=N_TOKENS).after
    model.host.model.generation_config.eos_token_id = free.token_ids[1]
    stop = free.token_ids.index(free.token_ids[1]) + 1
    ended = intervene(model, PROMPT, EDITS[0], generate=N_TOKENS).after
    assert ended.token_ids == free.token_ids[:stop]
    assert len(ended.logits) == stop


def test_features_chosen_over_all_positions_are_not_generated_with() -> None:
    model = tiny_model("llama", transcoder=tiny_transcoder(activation="batchtopk"))
    assert len(intervene(model, PROMPT, EDITS[0]).features)
    with pytest.raises(InputError, match="batchtopk"):
        intervene(model, PROMPT, EDITS[0], generate=2)


def test_a_prompt_of_one_token() -> None:
    model = never_ending(tiny_model("gpt2"))
    read = model.read_prompt([5], prepend=False)
    edit = Intervention.set(Feature(1, 3), 2.5)
    cached, plain = (
        intervene(model, read, edit, "direct", generate=4, use_cache=use_cache) for use_cache in (True, False)
    )
    assert cached.after.token_ids == plain.after.token_ids
    torch.testing.assert_close(cached.after.logits, plain.after.logits, rtol=1e-9, atol=1e-9)
