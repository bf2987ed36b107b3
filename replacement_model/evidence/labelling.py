"""Labels in a folder of evidence: imported from other programs, written by hand, or proposed by a function."""

import csv
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from replacement_model.errors import InputError
from replacement_model.evidence.folder import EvidenceFolder
from replacement_model.evidence.record import FeatureEvidence
from replacement_model.labels import FeatureLabel, FeatureLabels, load_labels, save_labels

__all__ = ["LABELS_NAME", "folder_labels", "import_labels", "merged_labels", "propose_labels", "save_folder_labels"]

LABELS_NAME = "labels.json"
INDEX_NAMES = ("feature_idx", "feature", "index")
TEXT_NAMES = ("text", "label", "description", "clerp")

Labeller = Callable[[FeatureEvidence], str | None]


def folder_labels(folder: Path) -> FeatureLabels:
    """The labels in a folder of evidence; none if it has no file of them."""
    path = folder / LABELS_NAME
    return load_labels(path) if path.is_file() else FeatureLabels()


def save_folder_labels(labels: FeatureLabels, folder: Path) -> Path:
    """Write the labels into a folder of evidence."""
    save_labels(labels, folder / LABELS_NAME)
    return folder / LABELS_NAME


def import_labels(path: Path) -> FeatureLabels:
    """Labels from a file.

    Args:
        path: our `labels.json`; a JSON list of objects, or a CSV table with a header, each with `layer`, `feature_idx`
            (or `feature`, `index`) and `text` (or `label`, `description`, `clerp`).

    Raises:
        InputError: it cannot be read, or a row lacks one of these.
        WeightsError: it is a damaged `labels.json`.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); give a JSON or CSV file with labels") from error
    if path.suffix.lower() == ".csv":
        rows: Any = list(csv.DictReader(content.splitlines()))
    else:
        try:
            rows = json.loads(content)
        except ValueError as error:
            raise InputError(f"{path} is not JSON ({error}); give a JSON list or a CSV table of labels") from error
    if isinstance(rows, dict) and "schema_version" in rows:
        return load_labels(path)
    if not isinstance(rows, list):
        raise InputError(f"{path}: expected a list of labels, it holds a {type(rows).__name__}")
    return FeatureLabels(dict(_row(path, number, row) for number, row in enumerate(rows, start=1)))


def propose_labels(
    folder: EvidenceFolder, labeller: Labeller, keys: Iterable[tuple[int, int]] | None = None
) -> FeatureLabels:
    """What a function says of each feature that was active; it may say nothing.

    Args:
        folder: the evidence.
        labeller: from the evidence on a feature to its label, None for no label.
        keys: features to ask about; None for all.

    Raises:
        InputError: the function returns something else than text.
    """
    found: dict[tuple[int, int], FeatureLabel] = {}
    for key in folder.keys() if keys is None else keys:
        evidence = folder.get(*key)
        text = None if evidence is None or not evidence.quantiles else labeller(evidence)
        if text is None:
            continue
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"the labeller must return text or None, for feature {key[0]}/{key[1]} it gave {text!r}")
        found[key] = FeatureLabel(text.strip())
    return FeatureLabels(found)


def merged_labels(known: FeatureLabels, new: FeatureLabels, folder: EvidenceFolder, replacing: bool) -> FeatureLabels:
    """Known and new labels, each with the logits of its evidence.

    Args:
        known, new: labels.
        folder: where they go; a feature that it does not have is refused.
        replacing: new ones win over known ones; else they only fill gaps.
    """
    joined: Mapping[tuple[int, int], FeatureLabel] = (
        {**known.by_feature, **new.by_feature} if replacing else {**new.by_feature, **known.by_feature}
    )
    return FeatureLabels({key: _with_logits(label, folder.get(*key)) for key, label in sorted(joined.items())})


def _with_logits(label: FeatureLabel, evidence: FeatureEvidence | None) -> FeatureLabel:
    if evidence is None or label.top_logits or label.bottom_logits:
        return label
    return replace(label, top_logits=evidence.top_logits, bottom_logits=evidence.bottom_logits)


def _row(path: Path, number: int, row: Any) -> tuple[tuple[int, int], FeatureLabel]:
    try:
        layer, idx = int(row["layer"]), int(_first(row, INDEX_NAMES))
        text = _first(row, TEXT_NAMES)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}, label {number}: expected layer, feature_idx (whole numbers) and text, got {row!r}"
        ) from error
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{path}, label {number}: the text of feature {layer}/{idx} is empty")
    return (layer, idx), FeatureLabel(text.strip())


def _first(row: Mapping[str, Any], names: Iterable[str]) -> Any:
    """The first of these columns that the row has."""
    for name in names:
        if name in row:
            return row[name]
    raise KeyError(f"none of {', '.join(names)}")
