"""Where a graph's influence runs: from which tokens, at which positions and layers, and over how many edges."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float

from circuits.graph import Graph
from circuits.influence import MIN_ROW_SUM, node_influence
from circuits.pruning import prune
from circuits.scores import completeness_score, replacement_score

__all__ = ["Flow", "measure_flow", "overlap"]


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """One graph's influence on its targets; distributions add up to 1.

    Attributes:
        transcoder: its name.
        n_features, n_kept: active, and kept by pruning at the default thresholds.
        replacement_score, completeness_score: of the unpruned graph.
        tokens: of the influence of tokens, the share of each.
        positions: of the influence of features, the share at each position.
        layers: of the influence of features, the share of each layer.
        lengths: of what reaches the targets from tokens and errors, the share that comes over 1, 2, ... edges.
        token_lengths: the same from tokens alone.
    """

    transcoder: str
    n_features: int
    n_kept: int
    replacement_score: float
    completeness_score: float
    tokens: Float[np.ndarray, "n_pos"]
    positions: Float[np.ndarray, "n_pos"]
    layers: Float[np.ndarray, "n_layers"]
    lengths: Float[np.ndarray, "n_lengths"]
    token_lengths: Float[np.ndarray, "n_lengths"]

    @property
    def mean_length(self) -> float:
        """Edges from a token to the target, on average."""
        return float(self.token_lengths @ np.arange(1, len(self.token_lengths) + 1))


def measure_flow(graph: Graph) -> Flow:
    """The distributions and scores of one graph."""
    layout, weights = graph.layout, graph.target_weights
    influence = node_influence(graph.adjacency, weights)
    of_features = influence[layout.feature_nodes]
    by_length, of_tokens = _lengths(graph)
    return Flow(
        transcoder=graph.metadata.transcoder_name,
        n_features=layout.n_features,
        n_kept=int(prune(graph).node_mask[layout.feature_nodes].sum()),
        replacement_score=replacement_score(layout, influence),
        completeness_score=completeness_score(layout, influence, weights),
        tokens=_normalised(influence[layout.token_nodes]),
        positions=_normalised(np.bincount(graph.features[:, 1], of_features, len(graph.tokens))),
        layers=_normalised(np.bincount(graph.features[:, 0], of_features, graph.n_layers)),
        lengths=_normalised(by_length),
        token_lengths=_normalised(of_tokens),
    )


def overlap(first: Float[np.ndarray, "n"], second: Float[np.ndarray, "n"]) -> float:
    """What two distributions share: 1 where they are equal, 0 where they have nothing in common.

    Example:
        >>> overlap(np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.25, 0.5]))
        0.5
    """
    return float(np.minimum(first, second).sum())


def _lengths(graph: Graph) -> tuple[Float[np.ndarray, "n_lengths"], Float[np.ndarray, "n_lengths"]]:
    """Influence of tokens and errors, and of tokens alone, over paths of 1, 2, ... edges."""
    layout = graph.layout
    sums = np.maximum(np.asarray(abs(graph.adjacency).sum(axis=1, dtype=np.float64)).ravel(), MIN_ROW_SUM)
    shares = sp.csr_array(sp.diags_array(1.0 / sums) @ abs(graph.adjacency).astype(np.float64))
    at = np.zeros(layout.n_rows)
    at[layout.target_rows] = graph.target_weights
    ends, tokens = [], []
    for _ in range(graph.n_layers + 1):
        reached = shares.T @ at  # [n_cols]
        ends.append(float(reached[layout.n_features :].sum()))
        tokens.append(float(reached[layout.token_nodes].sum()))
        at = np.concatenate([reached[layout.feature_nodes], np.zeros(layout.n_targets)])
    return np.array(ends), np.array(tokens)


def _normalised(values: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    total = float(values.sum())
    return values / total if total > 0 else np.zeros(len(values))
