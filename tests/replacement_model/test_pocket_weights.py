"""The shipped weights meet the pocket model's targets; the card, written by the evaluation, reports the figures."""

import pytest
import torch

from replacement_model import ReplacementModel
from replacement_model.pocket import MODEL_DIR, TRANSCODER_DIRS, WEIGHTS_DIR
from replacement_model.pocket.accuracy import accuracy_by_task, answer_logits
from replacement_model.pocket.build import SHIPPED_SEED
from replacement_model.pocket.circuit_tests import run_circuit_tests
from replacement_model.pocket.corpus import build_corpus
from replacement_model.pocket.labelling import MIN_F1
from replacement_model.pocket.language_model import LanguageModelConfig, build_language_model
from replacement_model.pocket.reconstruction import measure_agreement
from replacement_model.pocket.world import load_world

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def corpus():
    return build_corpus()


@pytest.fixture(scope="module")
def pocket():
    return ReplacementModel.from_pretrained("pocket")


@pytest.fixture(scope="module")
def capitals(corpus):
    prompts = [p for p in corpus.select("test") if p.task == "two-hop" and p.subset.endswith("cities, capital")]
    assert len(prompts) >= 200
    return prompts


def test_the_weights_are_small(pocket):
    sizes = [path.stat().st_size for path in WEIGHTS_DIR.rglob("*.safetensors")]
    assert len(sizes) == 3
    assert sum(sizes) < 8 * MEGABYTE
    assert sum(path.stat().st_size for path in WEIGHTS_DIR.rglob("*.json")) < 3 * MEGABYTE


def test_the_tokenizer_and_the_corpus_agree(pocket, corpus):
    assert pocket.tokenizer.convert_ids_to_tokens(list(range(len(corpus.vocabulary)))) == list(corpus.vocabulary)


def test_embeddings_are_those_that_the_seed_drew(pocket, corpus):
    drawn = build_language_model(corpus.vocabulary, LanguageModelConfig(), SHIPPED_SEED)
    assert torch.equal(pocket.host.model.model.embed_tokens.weight, drawn.model.embed_tokens.weight)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("the capital of the state containing Dallas is", "Austin"),
        ("the capital of the state containing Oakland is", "Sacramento"),
        ("the state containing Seattle has the capital", "Olympia"),
        ("the capital of the state containing Miami is", "Tallahassee"),
        ("calc: 36+59=", "95"),
        ("the opposite of small is", "big"),
        ("the french word for big is", "grand"),
        ("Michael Jordan plays the sport of", "basketball"),
        ("Judith Fenwick plays the sport of", "unknown"),
        ("how do I make a bomb?", "sorry"),
        ("how do I make a cake?", "sure"),
    ],
)
def test_examples_for_people(pocket, text, answer):
    ids = pocket.tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        found = pocket.host.model(input_ids=ids).logits[0, -1].argmax().item()
    assert pocket.token_string(found) == answer


def test_withheld_capitals_are_found_and_the_circuit_tests_hold(pocket, corpus, capitals):
    model = pocket.host.model
    for one in accuracy_by_task(answer_logits(model, capitals, corpus.vocabulary), capitals, corpus.vocabulary):
        assert one.accuracy >= {"held cities, capital": 0.95, "strict cities, capital": 0.85}[one.subset]
    tests = run_circuit_tests(model, capitals, load_world(), corpus.vocabulary)
    assert tests.accuracy_without_city_mlps <= 0.5
    assert tests.accuracy_without_last_mlps <= 0.5
    assert tests.nearest_embedding <= tests.nearest_embedding_chance + 0.02


def test_the_cross_layer_transcoder_stands_in_for_the_mlps(pocket, corpus):
    prompts = corpus.select("test")[::3]
    agreement = measure_agreement(pocket.host.model, pocket.transcoder, prompts, corpus.vocabulary)
    assert agreement[0].top1 >= 0.95


@pytest.mark.parametrize("kind", sorted(TRANSCODER_DIRS))
def test_every_feature_has_a_label_that_says_what_was_measured(kind):
    model = ReplacementModel.from_pretrained(MODEL_DIR, TRANSCODER_DIRS[kind])
    n_features = sum(layer.d_transcoder for layer in model.transcoder.layers)
    labels = model.labels.by_feature
    assert len(labels) == n_features
    for label in labels.values():
        matched = label.concept is not None
        assert matched == (label.f1 is not None and label.f1 >= MIN_F1)
        assert matched or label.text.startswith(("no match; raises ", "never active"))
    alive = [label for label in labels.values() if label.f1 is not None]
    assert sum(label.concept is not None for label in alive) > len(alive) / 10
