import json

import pytest

from replacement_model.errors import WeightsError
from replacement_model.labels import FeatureLabel, FeatureLabels, load_labels, save_labels

BY_FEATURE = {
    (1, 7): FeatureLabel("state: Texas", "state: Texas", 0.9, 0.95, 0.86, ("Austin", "TX"), ("Paris",)),
    (0, 12): FeatureLabel("no match; raises Austin, Texas"),
}
LABELS = FeatureLabels(BY_FEATURE)


def test_labels_survive_a_round_trip_in_layer_order(tmp_path):
    path = tmp_path / "labels.json"
    save_labels(LABELS, path)
    loaded = load_labels(path)
    assert loaded == LABELS
    assert list(loaded.by_feature) == [(0, 12), (1, 7)]


def test_equal_labels_give_equal_bytes_whatever_their_order(tmp_path):
    save_labels(LABELS, tmp_path / "a.json")
    save_labels(FeatureLabels(dict(reversed(BY_FEATURE.items()))), tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_no_labels_at_all(tmp_path):
    save_labels(FeatureLabels(), tmp_path / "labels.json")
    assert load_labels(tmp_path / "labels.json") == FeatureLabels()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "must hold a JSON object"),
        (json.dumps({"schema_version": 2}), "label schema"),
        (json.dumps({"schema_version": 1, "columns": ["layer"], "labels": [[0]]}), "not a label file"),
        (json.dumps({"schema_version": 1, "columns": ["layer", "text"], "labels": [[0]]}), "not a label file"),
    ],
)
def test_damaged_files_are_refused(tmp_path, content, message):
    path = tmp_path / "labels.json"
    path.write_text(content)
    with pytest.raises(WeightsError, match=message):
        load_labels(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="cannot be read"):
        load_labels(tmp_path / "labels.json")


def test_a_feature_without_a_label_has_none():
    assert LABELS.get(1, 7) == BY_FEATURE[1, 7]
    assert LABELS.get(7, 1) is None
    assert len(LABELS) == 2
