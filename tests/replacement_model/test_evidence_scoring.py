"""Scores of labels: hand-made predictors with known scores, matched negatives, and the control on the pocket model."""

from collections import Counter
from math import log2
from pathlib import Path

import numpy as np
import pytest
from tiny_models import tiny_model

from replacement_model import ReplacementModel
from replacement_model.errors import InputError
from replacement_model.evidence import open_text
from replacement_model.evidence.contexts import Contexts, write_contexts
from replacement_model.evidence.matching import MatchOptions, match_positions, prefixes_of
from replacement_model.evidence.pocket_concepts import predict_by_concept
from replacement_model.evidence.rules import TextPosition, predict_by_rule
from replacement_model.evidence.scoring import Mean, known_score, save_report, score_labels, scored_labels
from replacement_model.labels import FeatureLabel, FeatureLabels
from replacement_model.pocket.corpus import build_corpus

KEYS = [(layer, idx) for layer in range(3) for idx in range(12)]
OPTIONS = MatchOptions(n_positive=20, n_pool=16, batch_tokens=64)


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def cut(model, folder: Path, lines: list[str]) -> Contexts:
    folder.mkdir()
    (folder / "text.txt").write_text("\n".join(lines))
    return write_contexts(model, open_text(str(folder / "text.txt")), folder, 24)


@pytest.fixture
def contexts(model, tmp_path):
    rng = np.random.default_rng(3)
    words = [3, 3, 3, 3, 4, 4, 5, 6, 7, 8, 9, 10, 11]
    return cut(model, tmp_path / "a", [" ".join(f"w{i}" for i in rng.choice(words, 20)) for _ in range(40)])


def active_places(model, contexts) -> dict:
    """Where each feature is active, from one trace-like run a context."""
    found: dict = {key: set() for key in KEYS}
    for number in range(len(contexts)):
        captured = model.capture(model.read_prompt(contexts.ids(number)))
        parts = model.decompose(captured, 1).features.tolist()
        for layer, pos, idx in parts:
            if (layer, idx) in found:
                found[layer, idx].add((number, pos))
    return found


def cell(contexts, place) -> tuple[int, int]:
    """Position bin and frequency bin, from their description."""
    counts = Counter(i for number in range(len(contexts)) for i in contexts.ids(number)[1:])
    number, pos = place
    position_bin = pos if pos < 16 else 16 + int(4 * log2(pos / 16))
    return position_bin, int(log2(counts[contexts.ids(number)[pos]]))


def test_negatives_are_inactive_unseen_and_of_the_same_position_and_frequency(model, contexts, tmp_path):
    seen_text = cut(model, tmp_path / "b", [contexts_line(contexts, 0), contexts_line(contexts, 1)])
    matched = match_positions(model, contexts, KEYS, prefixes_of(seen_text), OPTIONS)
    active = active_places(model, contexts)
    n_pairs = n_exact = 0
    for key, found in matched.items():
        assert set(found.positives) <= active[key]
        assert not set(found.negatives) & active[key]
        assert len(set(found.positives)) == len(found.positives) == len(found.negatives)
        assert len(set(found.negatives)) == len(found.negatives)
        assert not {0, 1} & {number for number, _ in (*found.positives, *found.negatives)}
        pairs = zip(found.positives, found.negatives, strict=True)
        assert sum(cell(contexts, a) == cell(contexts, b) for a, b in pairs) == found.n_exact
        n_pairs, n_exact = n_pairs + len(found.positives), n_exact + found.n_exact
    assert n_pairs > 200
    assert n_exact > 0.5 * n_pairs


def contexts_line(contexts, number: int) -> str:
    return " ".join(f"w{i}" for i in contexts.ids(number)[1:])


def labelled() -> FeatureLabels:
    return FeatureLabels({key: FeatureLabel(f"{key[0]} {key[1]}") for key in KEYS})


def oracle(model, contexts, sign: bool):
    """A predictor that knows the activations; a label is `layer index`."""
    active = active_places(model, contexts)
    number = {tuple(model.token_string(i) for i in contexts.ids(n)): n for n in range(len(contexts))}

    def predict(label: str, positions) -> list[bool]:
        key = tuple(int(part) for part in label.split())
        return [((number[position.tokens], position.pos) in active[key]) is sign for position in positions]

    return predict


def test_perfect_inverted_and_empty_predictors(model, contexts):
    right = score_labels(model, labelled(), contexts, oracle(model, contexts, True), options=OPTIONS)
    assert len(right.scores) + right.n_rare == len(KEYS)
    assert len(right.scores) > 10
    for one in right.scores:
        assert (one.balanced_accuracy, one.precision, one.recall, one.f1) == (1.0, 1.0, 1.0, 1.0)
    assert right.balanced_accuracy == Mean(1.0, 1.0, 1.0)
    wrong = score_labels(model, labelled(), contexts, oracle(model, contexts, False), options=OPTIONS)
    assert {(one.balanced_accuracy, one.precision, one.recall, one.f1) for one in wrong.scores} == {(0.0,) * 4}
    always = score_labels(model, labelled(), contexts, lambda label, at: [1.0] * len(at), options=OPTIONS)
    assert {(one.balanced_accuracy, one.precision, one.recall, one.f1) for one in always.scores} == {
        (0.5, 0.5, 1.0, 2 / 3)
    }
    never = score_labels(model, labelled(), contexts, lambda label, at: [0.0] * len(at), options=OPTIONS)
    assert {(one.balanced_accuracy, one.precision, one.recall, one.f1) for one in never.scores} == {
        (0.5, 0.0, 0.0, 0.0)
    }


def test_scores_by_hand(model, contexts):
    """Right at the first half of the active and at three quarters of the inactive positions."""
    labels = FeatureLabels({KEYS[3]: FeatureLabel("some"), KEYS[4]: FeatureLabel("none")})
    calls = []

    def predict(label: str, positions) -> list[bool] | None:
        if label == "none":
            return None
        calls.append(len(positions))
        n = len(positions)
        return [i < n // 2 for i in range(n)] if len(calls) % 2 == 0 else [i < n // 4 for i in range(n)]

    # The first call asks with no positions whether the label is understood; then come positives and negatives.
    (one,) = (report := score_labels(model, labels, contexts, predict, options=OPTIONS)).scores
    hits, false = one.n // 2, one.n // 4
    assert one.recall == hits / one.n
    assert one.precision == hits / (hits + false)
    assert one.balanced_accuracy == (hits / one.n + 1 - false / one.n) / 2
    assert (report.n_untestable, one.shuffled, report.shuffled) == (1, None, None)


def test_labels_carry_their_scores_the_right_way_round(model, contexts, tmp_path):
    always = score_labels(model, labelled(), contexts, lambda label, at: [1] * len(at), options=OPTIONS)
    key = always.scores[0].layer, always.scores[0].feature_idx
    label = scored_labels(labelled(), always).get(*key)
    # How well activation predicts the label: it holds at every active position, and half of where it holds is active.
    assert (label.precision, label.recall, label.f1) == (1.0, 0.5, 2 / 3)
    save_report(always, tmp_path, {"text": "x"})
    assert known_score(tmp_path, *key, label.text) == always.scores[0]
    assert known_score(tmp_path, *key, "another") is None


def test_predictors_that_answer_wrongly_are_refused(model, contexts):
    with pytest.raises(InputError, match="must give 20 numbers"):
        score_labels(model, labelled(), contexts, lambda label, at: [1], options=OPTIONS)
    with pytest.raises(InputError, match="must give numbers"):
        score_labels(model, labelled(), contexts, lambda label, at: ["yes"] * len(at), options=OPTIONS)
    with pytest.raises(InputError, match="none of 36 labels can be tested: the predictor understands 0"):
        score_labels(model, labelled(), contexts, lambda label, at: None, options=OPTIONS)


def test_intervals_of_means():
    mean = Mean.of([0.4, 0.6])
    assert (mean.value, mean.low, mean.high) == pytest.approx((0.5, 0.5 - 0.196, 0.5 + 0.196))
    assert Mean.of([]) is None


def test_concepts_of_the_corpus_agree_with_rules_where_both_apply():
    prompts = build_corpus().select("test")[::97]
    positions = [
        TextPosition(("<bos>", *prompt.words), pos) for prompt in prompts for pos in range(1, len(prompt.words) + 1)
    ]
    for label in ("word: is", "word: the", "position: 3"):
        assert predict_by_concept(label, positions) == predict_by_rule(label, positions)
    for prompt in prompts:
        last = TextPosition(("<bos>", *prompt.words), len(prompt.words))
        assert predict_by_concept(f"task: {prompt.task}", [last]) == [True]
        assert predict_by_concept(f"task: {prompt.task}", [TextPosition(("<bos>", "zebra"), 1)]) == [False]
    assert predict_by_concept("no match; raises Austin", positions) is None


@pytest.mark.parametrize("kind", ["clt", pytest.param("plt", marks=pytest.mark.slow)])
def test_pocket_labels_hold_on_unseen_text_and_shuffled_ones_are_at_chance(kind, tmp_path):
    model = ReplacementModel.from_pretrained("pocket", kind)
    folders = [tmp_path / name for name in ("test", "train")]
    for folder in folders:
        folder.mkdir()
    test, train = (write_contexts(model, open_text(f"pocket:{folder.name}"), folder, 64) for folder in folders)
    # The labels were made from the training prompts: only what begins otherwise is tested.
    report = score_labels(model, model.labels, test, predict_by_concept, seen=prefixes_of(train))
    assert len(report.scores) > 200
    assert report.balanced_accuracy.low > 0.7
    assert abs(report.shuffled.value - 0.5) < 0.015
