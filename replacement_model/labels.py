"""Labels of transcoder features, with the evidence that they rest on."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from replacement_model.errors import WeightsError
from replacement_model.formats.files import read_json, write_json

__all__ = ["FeatureLabel", "FeatureLabels", "load_labels", "save_labels"]

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class FeatureLabel:
    """What a feature stands for, and how well that was measured.

    Attributes:
        text: short text for people.
        concept: the corpus concept that matches best, None where none does.
        f1, precision, recall: how well `activation > 0` predicts the concept on held-back text, None where not measured.
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
    """Write `labels` as JSON: {"labels": {"layer": {"feature_idx": {...}}}}, without fields that say nothing."""
    layers: dict[str, dict[str, dict[str, object]]] = {}
    for (layer, idx), label in sorted(labels.by_feature.items()):
        said = {name: value for name, value in asdict(label).items() if value not in (None, ())}
        layers.setdefault(str(layer), {})[str(idx)] = said
    write_json(path, {"schema_version": SCHEMA_VERSION, "labels": layers})


def load_labels(path: Path) -> FeatureLabels:
    """Read what `save_labels` wrote.

    Raises:
        WeightsError: the file is damaged, or of another schema.
    """
    content = read_json(path)
    if content.get("schema_version") != SCHEMA_VERSION:
        raise WeightsError(f"{path} has label schema {content.get('schema_version')}, expected {SCHEMA_VERSION}")
    try:
        return FeatureLabels(
            {
                (int(layer), int(idx)): _label(said)
                for layer, features in content["labels"].items()
                for idx, said in features.items()
            }
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} is not a label file ({error}); write it again") from error


def _label(said: dict) -> FeatureLabel:
    lists = {name: tuple(said[name]) for name in ("top_logits", "bottom_logits") if name in said}
    return FeatureLabel(**(said | lists))


def save_labels(labels: Mapping[tuple[int, int], FeatureLabel], path: str | Path) -> None:
    """Write labels as JSON, one feature a line, sorted by layer and index.

    Args:
        labels: (layer, feature_idx) -> label.
        path: the file to write; see `LABELS_FILE`.
    """
    lines = [json.dumps([*key, *asdict(label).values()], ensure_ascii=False) for key, label in sorted(labels.items())]
    columns = ["layer", "feature_idx", *(field.name for field in fields(FeatureLabel))]
    head = f'{{"schema_version": {SCHEMA_VERSION}, "columns": {json.dumps(columns)}, "labels": [\n'
    Path(path).write_text(head + ",\n".join(lines) + "\n]}\n", encoding="utf-8")


def load_labels(path: str | Path) -> dict[tuple[int, int], FeatureLabel]:
    """Read labels written by `save_labels`: (layer, feature_idx) -> label.

    Raises:
        WeightsError: the file is missing, no JSON, or of another schema.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read as JSON labels ({error}); write it with save_labels") from error
    if not isinstance(content, dict) or content.get("schema_version") != SCHEMA_VERSION:
        raise WeightsError(f"{path}: expected labels of schema version {SCHEMA_VERSION}; write it again with save_labels")
    try:
        return dict(_read_row(dict(zip(content["columns"], row, strict=True))) for row in content["labels"])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: a row of labels is damaged ({error}); write it again with save_labels") from error


def _read_row(row: dict[str, Any]) -> tuple[tuple[int, int], FeatureLabel]:
    key = (int(row.pop("layer")), int(row.pop("feature_idx")))
    logits = {name: tuple(row.pop(name)) for name in ("top_logits", "bottom_logits")}
    return key, FeatureLabel(**row, **logits)
