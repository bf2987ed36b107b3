from dataclasses import replace

import pytest
import torch

from replacement_model.pocket.corpus import BOS, EOS, PAD, Corpus
from replacement_model.pocket.language_model import (
    IGNORED,
    TASK_SHARES,
    LanguageModelConfig,
    _BatchSampler,
    _lr_share,
    build_language_model,
    train_language_model,
)
from replacement_model.pocket.prompts import Prompt

TINY = LanguageModelConfig(n_layers=1, d_model=16, n_heads=2, d_mlp=32, steps=60, batch_size=16, warmup_steps=5)


def prompt(text, answer, task="refusal", split="train"):
    return Prompt(task, "all", split, tuple(text.split()), answer, ())


@pytest.fixture(scope="module")
def corpus():
    prompts = (
        prompt("a b", "x"),
        prompt("b a c", "y"),
        prompt("c c", "z", "addition"),
        prompt("c b", "x", split="test"),
    )
    return Corpus(prompts, (PAD, EOS, BOS, "a", "b", "c", "x", "y", "z", "."))


def trained(corpus, seed=0, **settings):
    config = replace(TINY, **settings)
    model = build_language_model(corpus.vocabulary, config, seed)
    loss = train_language_model(model, corpus, config, torch.Generator().manual_seed(seed))
    return model, loss


def test_input_embeddings_are_random_frozen_and_not_the_unembedding(corpus):
    untrained = build_language_model(corpus.vocabulary, TINY, seed=3)
    before = untrained.model.embed_tokens.weight.clone()
    model, _ = trained(corpus, seed=3, steps=5)
    assert torch.equal(model.model.embed_tokens.weight, before)
    assert model.lm_head.weight is not model.model.embed_tokens.weight
    assert not torch.equal(model.lm_head.weight, untrained.lm_head.weight)
    assert before.std().item() == pytest.approx(16**-0.5, rel=0.2)


def test_training_learns_the_answers(corpus):
    model, loss = trained(corpus, steps=150)
    assert loss < 1.0
    ids = torch.tensor([[2, 3, 4], [2, 5, 5]])
    answers = model(input_ids=ids).logits[:, -1].argmax(-1)
    assert [corpus.vocabulary[i] for i in answers.tolist()] == ["x", "z"]
    assert not model.training


def test_equal_seeds_give_equal_models_and_leave_the_global_state_alone(corpus):
    state = torch.random.get_rng_state()
    (first, _), (again, _), (other, _) = (trained(corpus, seed=seed, steps=3) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first.lm_head.weight, again.lm_head.weight)
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)


def test_only_answers_and_what_follows_them_are_learnt(corpus):
    sampler = _BatchSampler(corpus, TASK_SHARES, torch.Generator().manual_seed(0))
    token_ids, targets, weights = sampler.draw(64, 0.1)
    word = dict(enumerate(corpus.vocabulary)) | {IGNORED: "-"}
    for row in range(64):
        inputs = [word[i] for i in token_ids[row].tolist()]
        scored = [word[i] for i in targets[row].tolist()]
        if inputs[1] == "b":
            assert inputs == ["<bos>", "b", "a", "c", "y", "."]
            assert scored == ["-", "-", "-", "y", ".", "<eos>"]
            assert weights[row, 3:].tolist() == pytest.approx([1, 0.1, 0.1])
        else:
            assert scored[2] in "xz"
            assert scored[3:5] == [".", "<eos>"]
            assert scored[5] == "-"


def test_tasks_are_drawn_by_their_shares_and_withheld_prompts_never(corpus):
    sampler = _BatchSampler(corpus, TASK_SHARES, torch.Generator().manual_seed(0))
    token_ids, _, _ = sampler.draw(4000, 0.1)
    rows = ["".join(corpus.vocabulary[i] for i in row[1:3]) for row in token_ids.tolist()]
    assert "cb" not in rows
    expected = TASK_SHARES["addition"] / (TASK_SHARES["addition"] + TASK_SHARES["refusal"])
    assert rows.count("cc") / 4000 == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize(("step", "share"), [(0, 0.2), (4, 1.0), (35, 1.0), (67, 0.5175), (99, 0.0351)])
def test_the_learning_rate_warms_up_stays_and_falls(step, share):
    config = replace(TINY, steps=100, flat_share=0.35)
    assert _lr_share(step, config) == pytest.approx(share, abs=1e-3)
