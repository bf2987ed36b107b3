"""The edges that a tool found, in a form common to both, and how far two tools agree."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

__all__ = ["Agreement", "Edges", "compare"]


@dataclass(frozen=True, slots=True)
class Edges:
    """A dense rectangle: rows are features then logits, columns are features, errors (layer-major), tokens.

    Attributes:
        features: (layer, pos, feature_idx) of the selected features.
        logit_token_ids: tokens of the logit rows.
        values: `values[target, source]`.
    """

    features: Int[np.ndarray, "n_features 3"]
    logit_token_ids: Int[np.ndarray, "n_logits"]
    values: Float[np.ndarray, "n_rows n_cols"]

    def save(self, path: Path) -> None:
        np.savez(path, features=self.features, logit_token_ids=self.logit_token_ids, values=self.values)

    @classmethod
    def load(cls, path: Path) -> "Edges":
        with np.load(path) as stored:
            return cls(stored["features"], stored["logit_token_ids"], stored["values"])


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two graphs agree on the features that both selected.

    Attributes:
        n_common: features selected by both.
        n_selected: features selected by each.
        max_difference: largest absolute difference of an edge among them.
        largest_edge: for scale.
    """

    n_common: int
    n_selected: tuple[int, int]
    max_difference: float
    largest_edge: float


def compare(one: Edges, other: Edges) -> Agreement:
    """Compares edges between common features, errors, tokens and logits.

    Raises:
        ValueError: the logits differ.
    """
    if set(one.logit_token_ids) != set(other.logit_token_ids):
        raise ValueError(f"expected the same logits, got {one.logit_token_ids} and {other.logit_token_ids}")
    _, in_one, in_other = np.intersect1d(_keys(one), _keys(other), return_indices=True)
    values, other_values = _part(one, in_one), _part(other, in_other)
    return Agreement(
        n_common=len(in_one),
        n_selected=(len(one.features), len(other.features)),
        max_difference=float(np.abs(values - other_values).max()),
        largest_edge=float(np.abs(values).max()),
    )


def _keys(edges: Edges) -> Int[np.ndarray, "n_features"]:
    layer, pos, idx = edges.features.astype(np.int64).T
    return (layer << 48) | (pos << 32) | idx


def _part(edges: Edges, features: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n_rows n_cols"]:
    n_features = len(edges.features)
    logits = n_features + np.argsort(edges.logit_token_ids)
    cols = np.r_[features, n_features : edges.values.shape[1]]
    return edges.values[np.ix_(np.r_[features, logits], cols)].astype(np.float64)
