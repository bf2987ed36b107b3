"""Labels of transcoder features, with the evidence that they rest on."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from replacement_model.errors import WeightsError
from replacement_model.formats.files import atomic_path, read_json

__all__ = ["FeatureLabel", "FeatureLabels", "load_labels", "save_labels"]

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class FeatureLabel:
    """What a feature stands for, and how well that was measured.

    Attributes:
        text: short text for people.
        concept: the corpus concept that matches best, None where none does.
        f1, precision, recall: how well `activation > 0` predicts the concept on held-back text; None if not measured.
        top_logits, bottom_logits: tokens that the feature's decoder raises and lowers most.
    """

    text: str
    concept: str | None = None
    f1: float | None = None
    precision: float | None = None
    recall: float | None = None
    top_logits: tuple[str, ...] = ()
    bottom_logits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FeatureLabels:
    """Labels by (layer, feature_idx)."""

    by_feature: Mapping[tuple[int, int], FeatureLabel] = field(default_factory=dict)

    def get(self, layer: int, feature_idx: int) -> FeatureLabel | None:
        """The label of a feature, None if it has none."""
        return self.by_feature.get((layer, feature_idx))

    def __len__(self) -> int:
        return len(self.by_feature)


def save_labels(labels: FeatureLabels, path: Path) -> None:
    """Write `labels` as a JSON table, one feature a line, sorted by layer and index."""
    rows = [[*key, *asdict(label).values()] for key, label in sorted(labels.by_feature.items())]
    lines = ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)
    columns = json.dumps(["layer", "feature_idx", *(column.name for column in fields(FeatureLabel))])
    head = f'{{"schema_version": {SCHEMA_VERSION}, "columns": {columns}, "labels": [\n'
    with atomic_path(path) as temporary:
        temporary.write_text(f"{head}{lines}\n]}}\n", encoding="utf-8")


def load_labels(path: Path) -> FeatureLabels:
    """Read what `save_labels` wrote.

    Raises:
        WeightsError: the file is missing, damaged, or of another schema.
    """
    content = read_json(path)
    if content.get("schema_version") != SCHEMA_VERSION:
        raise WeightsError(f"{path} has label schema {content.get('schema_version')}, expected {SCHEMA_VERSION}")
    try:
        rows = [dict(zip(content["columns"], row, strict=True)) for row in content["labels"]]
        return FeatureLabels(dict(_label(row) for row in rows))
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} is not a label file ({error}); write it again") from error


def _label(row: dict[str, Any]) -> tuple[tuple[int, int], FeatureLabel]:
    key = (int(row.pop("layer")), int(row.pop("feature_idx")))
    row |= {name: tuple(row[name]) for name in ("top_logits", "bottom_logits")}
    return key, FeatureLabel(**row)
