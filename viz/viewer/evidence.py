"""What a folder of evidence says of features, in the page's words."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from replacement_model.evidence.folder import INDEX_NAME, EvidenceFolder
from replacement_model.evidence.labelling import folder_labels
from replacement_model.evidence.record import FeatureEvidence
from replacement_model.labels import FeatureLabel, FeatureLabels
from viz.viewer.inert import size_in_page

__all__ = ["MAX_EXAMPLES", "FeatureTexts", "feature_facts"]

MAX_EXAMPLES = 10
AROUND = 32  # tokens shown on either side of the strongest


def feature_facts(
    evidence: FeatureEvidence, label: FeatureLabel | None = None, n_examples: int = MAX_EXAMPLES
) -> dict[str, Any]:
    """A feature's examples, histogram, logits and label.

    Args:
        evidence: what is known of the feature.
        label: of the feature, None if the folder has none.
        n_examples: at most so many examples, the strongest first.
    """
    examples = [
        {"quantile": quantile.name, **_window(example.tokens, example.acts, example.peak)}
        for quantile in evidence.quantiles
        for example in quantile.examples
    ]
    return {
        **_label_facts(label),
        "activation_frequency": evidence.frequency,
        "act_min": evidence.act_min,
        "act_max": evidence.act_max,
        "histogram": list(evidence.histogram),
        "histogram_edges": list(evidence.histogram_edges),
        "top_logits": list(evidence.top_logits),
        "bottom_logits": list(evidence.bottom_logits),
        "top_logit_effects": list(evidence.top_effects),
        "bottom_logit_effects": list(evidence.bottom_effects),
        "nearest": [[one.layer, one.feature_idx, one.cosine] for one in evidence.nearest],
        "examples": examples[:n_examples],
    }


def _label_facts(label: FeatureLabel | None) -> dict[str, Any]:
    return {} if label is None else {"label": label.text, "label_source": "evidence", "label_score": label.f1}


def _window(tokens: tuple[str, ...], acts: tuple[float, ...], peak: int) -> dict[str, Any]:
    first = max(0, peak - AROUND)
    part = slice(first, peak + AROUND + 1)
    return {"tokens": list(tokens[part]), "acts": list(acts[part]), "train_token_ind": peak - first}


class FeatureTexts:
    """A folder of evidence with its labels.

    Args:
        folder: what `orrery features collect` wrote.

    Raises:
        InputError: there is no finished folder here.
        WeightsError: its index or its labels are damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.evidence = EvidenceFolder(folder)
        self.labels: FeatureLabels = folder_labels(folder)

    def facts(self, layer: int, feature_idx: int, n_examples: int = MAX_EXAMPLES) -> dict[str, Any] | None:
        """What is known of a feature; None if the folder has nothing on it.

        Raises:
            WeightsError: its record is damaged.
        """
        index = self.evidence.layers.get(layer)
        if index is None or not 0 <= feature_idx < len(index.offsets) - 1:
            return None
        found = self.evidence.get(layer, feature_idx)
        return None if found is None else feature_facts(found, self.labels.get(layer, feature_idx), n_examples)

    def file(self, name: str) -> Path | None:
        """The index or a layer's file, by its name; None for any other name, or where it leads out of the folder."""
        folder = self.evidence.folder
        if name not in (INDEX_NAME, *(index.filename for index in self.evidence.layers.values())):
            return None
        path = (folder / name).resolve()
        return path if path.is_file() and path.parent == folder.resolve() else None

    def labelled(self, nodes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The page's nodes, with the folder's labels in place of the graph's where there are some."""
        found = []
        for node in nodes:
            label = None if node["feature_idx"] is None else self.labels.get(node["layer"], node["feature_idx"])
            found.append({**node, **_label_facts(label)})
        return found

    def of(self, features: Iterable[str], max_bytes: int, n_examples: int = 5) -> dict[str, dict[str, Any]]:
        """Facts on features by "LAYER/INDEX", in this order for as long as they fit."""
        found: dict[str, dict[str, Any]] = {}
        for key in dict.fromkeys(features):
            layer, feature_idx = map(int, key.split("/"))
            facts = self.facts(layer, feature_idx, n_examples)
            max_bytes -= 0 if facts is None else size_in_page({key: facts})
            if max_bytes < 0:
                break
            if facts is not None:
                found[key] = facts
        return found
