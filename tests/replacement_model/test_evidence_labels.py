"""Labels by hand, from files and by functions, and the rules that some of them are."""

import json

import pytest

from replacement_model.errors import InputError
from replacement_model.evidence import EvidenceFolder, FeatureEvidence
from replacement_model.evidence.folder import write_index, write_layer
from replacement_model.evidence.labelling import import_labels, merged_labels, propose_labels
from replacement_model.evidence.plugins import LABELLERS, load_function
from replacement_model.evidence.record import Example, Quantile
from replacement_model.evidence.rules import TextPosition, parse_rule, predict_by_rule, token_label
from replacement_model.labels import FeatureLabel, FeatureLabels, save_labels


def evidence(idx: int, *peaks: str) -> FeatureEvidence:
    examples = tuple(Example(("<bos>", peak, "z"), (0.0, 1.0, 0.5), 1) for peak in peaks)
    return FeatureEvidence(0, idx, (Quantile("Top", examples),) if peaks else (), ("up",), ("down",))


@pytest.fixture
def folder(tmp_path):
    records = [evidence(0, " a", " a", " a"), evidence(1), evidence(2, "b", "a", "b"), evidence(3, *"abcdefgh")]
    write_index(tmp_path, {0: write_layer(tmp_path / "layer_0.bin", records)})
    return EvidenceFolder(tmp_path)


def texts(labels: FeatureLabels) -> dict:
    return {key: label.text for key, label in labels.by_feature.items()}


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("token: Dallas", [False, True, False, False]),
        ("word: is", [False, False, True, False]),
        ("tokens: is | Dallas", [False, True, True, False]),
        ("position: 3", [False, False, False, True]),
        ("/s$/", [False, True, True, False]),
        ("/las i/", [False, False, True, False]),
        ("/^<bos>/", [True, False, False, False]),
    ],
)
def test_rules_predict_by_hand(label, expected):
    tokens = ("<bos>", " Dallas", "▁is", " a")
    assert predict_by_rule(label, [TextPosition(tokens, pos) for pos in range(4)]) == expected


def test_other_labels_are_no_rules_and_wrong_ones_are_refused():
    assert predict_by_rule("cities in Texas", []) is None
    assert predict_by_rule("no match; raises Austin", []) is None
    with pytest.raises(InputError, match="no regular expression"):
        parse_rule("/(/")
    with pytest.raises(InputError, match="position: 3"):
        parse_rule("position: last")


def test_a_token_label_needs_examples_that_agree(folder):
    found = propose_labels(folder, token_label)
    assert texts(found) == {(0, 0): "token: a", (0, 2): "tokens: a | b"}
    assert texts(propose_labels(folder, token_label, [(0, 2)])) == {(0, 2): "tokens: a | b"}


def test_a_labeller_must_return_text(folder):
    with pytest.raises(InputError, match="text or None, for feature 0/0 it gave 3"):
        propose_labels(folder, lambda evidence: 3)


def test_new_labels_replace_or_fill_gaps_and_get_logits(folder):
    known = FeatureLabels({(0, 0): FeatureLabel("old", f1=0.5)})
    new = FeatureLabels({(0, 0): FeatureLabel("new"), (0, 3): FeatureLabel("other")})
    assert texts(merged_labels(known, new, folder, replacing=True)) == {(0, 0): "new", (0, 3): "other"}
    filled = merged_labels(known, new, folder, replacing=False)
    assert filled.get(0, 0) == FeatureLabel("old", f1=0.5, top_logits=("up",), bottom_logits=("down",))
    assert filled.get(0, 3).top_logits == ("up",)
    with pytest.raises(InputError, match="features 0 to 3, not 9"):
        merged_labels(known, FeatureLabels({(0, 9): FeatureLabel("x")}), folder, replacing=True)


def test_labels_of_every_file_kind_are_imported(tmp_path):
    expected = {(0, 2): "héllo, you", (1, 3): "x"}
    (tmp_path / "a.csv").write_text('layer,index,description\n0,2,"héllo, you"\n1,3,x\n', encoding="utf-8-sig")
    rows = [{"layer": "0", "feature": 2, "label": "héllo, you"}, {"layer": 1, "feature_idx": 3, "text": "x"}]
    (tmp_path / "b.json").write_text(json.dumps(rows))
    save_labels(FeatureLabels({key: FeatureLabel(text) for key, text in expected.items()}), tmp_path / "c.json")
    for name in ("a.csv", "b.json", "c.json"):
        assert texts(import_labels(tmp_path / name)) == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{", "is not JSON"),
        ("a.json", "3", "expected a list of labels"),
        ("a.json", '[{"layer": 0, "text": "x"}]', "label 1: expected layer, feature_idx"),
        ("a.csv", "layer,index,text\n0,1,\n", "text of feature 0/1 is empty"),
        ("a.csv", "layer,index,text\n0,one,x\n", "label 1: expected layer"),
    ],
)
def test_wrong_label_files_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        import_labels(tmp_path / name)


def test_functions_are_loaded_by_name_only(monkeypatch):
    assert load_function("replacement_model.evidence.rules:token_label", LABELLERS).__name__ == "token_label"
    for name, message in [
        ("no.such.module:f", "cannot load no.such.module:f"),
        ("json:nothing", "cannot load json:nothing"),
        ("json:__name__", "is a str, expected a function"),
        ("mine", "no orrery.labellers named 'mine'"),
    ]:
        with pytest.raises(InputError, match=message):
            load_function(name, LABELLERS)
