import json

import pytest

from replacement_model.errors import WeightsError
from replacement_model.labels import FeatureLabel, load_labels, save_labels

LABELS = {
    (1, 7): FeatureLabel("state: Texas", "state: Texas", 0.9, 0.95, 0.86, ("Austin", "TX"), ("Paris",)),
    (0, 12): FeatureLabel("no concept matches (best F1 0.21)"),
}


def test_labels_survive_a_round_trip_in_layer_order(tmp_path):
    path = tmp_path / "labels.json"
    save_labels(LABELS, path)
    loaded = load_labels(path)
    assert loaded == LABELS
    assert list(loaded) == [(0, 12), (1, 7)]


def test_equal_labels_give_equal_bytes_whatever_their_order(tmp_path):
    save_labels(LABELS, tmp_path / "a.json")
    save_labels(dict(reversed(LABELS.items())), tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_no_labels_at_all(tmp_path):
    save_labels({}, tmp_path / "labels.json")
    assert load_labels(tmp_path / "labels.json") == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "schema version 1"),
        (json.dumps({"schema_version": 2}), "schema version 1"),
        (json.dumps({"schema_version": 1, "columns": ["layer"], "labels": [[0]]}), "damaged"),
        (json.dumps({"schema_version": 1, "columns": ["layer", "text"], "labels": [[0]]}), "damaged"),
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
