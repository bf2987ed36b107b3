"""Which edges carry a given share of all edge scores, without sorting or storing the scores.

The score of an edge is what its target hands on (its influence on the pruned graph, or a target's weight) times the
edge's share of that target's input. A histogram of the scores, by the leading bits of the floating-point numbers, is
filled in the pass that computes the influence. It tells in which narrow bin the threshold lies, and only the edges of
that bin are sorted. The graph is read twice, and memory is needed only for the edges that are kept.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float

from circuits.influence import csr_arrays
from circuits.kernels import DROPPED_BITS, N_BINS, score_rows, scores_below, select_edges

__all__ = ["SMALLEST", "drop_edges", "share_threshold", "strongest_edges"]

# Scores below the smallest normal number count as none.
SMALLEST = float(np.finfo(np.float64).tiny)


def share_threshold(scores: Float[np.ndarray, "n"], goal: float, *, above: float = 0.0) -> float:
    """The largest score such that `above` and all scores from there up add up to `goal`.

    Where no sum reaches the goal, it is the smallest of the scores. Never less than `SMALLEST`.
    """
    if len(scores) == 0:
        return SMALLEST
    ordered = np.sort(scores)[::-1]
    index = np.searchsorted(above + np.cumsum(ordered), goal)
    return max(float(ordered[min(int(index), len(ordered) - 1)]), SMALLEST)


def strongest_edges(
    adjacency: sp.csr_array,
    target_weights: Float[np.ndarray, "n_targets"],
    kept_sources: Bool[np.ndarray, "n_cols"],
    share: float,
) -> sp.csr_array:
    """The edges between kept nodes that carry `share` of the sum of edge scores, with their original weights.

    Args:
        adjacency: (n_features + n_targets, n_cols), `[target, source]`.
        target_weights: the weight of each of the last `n_targets` rows; these rows are always kept.
        kept_sources: which columns remain; a feature's row remains with its column.
        share: between 0 and 1; at 1 every edge with a score above zero is kept.

    Returns:
        The same shape as `adjacency`, in new arrays.
    """
    n_features = adjacency.shape[0] - len(target_weights)
    kept_rows = np.concatenate([kept_sources[:n_features], np.ones(len(target_weights), dtype=bool)])
    scored = _score(adjacency, target_weights, kept_rows, kept_sources)
    crossing = scored.crossing(share)

    edges = _select(adjacency, kept_rows, kept_sources, scored.factors, crossing.low, crossing.n_edges)
    in_bin = np.empty(crossing.n_in_bin)
    found = scores_below(*csr_arrays(edges)[::2], scored.factors, crossing.high, in_bin)
    goal = share * crossing.total
    threshold = share_threshold(in_bin[:found], goal, above=crossing.mass_above) if share < 1 else SMALLEST
    return _select(edges, kept_rows, kept_sources, scored.factors, threshold, in_place=True)


def drop_edges(
    edges: sp.csr_array, kept_rows: Bool[np.ndarray, "n_rows"], kept_sources: Bool[np.ndarray, "n_cols"]
) -> sp.csr_array:
    """The edges between kept rows and kept sources. Uses the memory of `edges`, which must not be used afterwards."""
    return _select(edges, kept_rows, kept_sources, np.ones(edges.shape[0]), 0.0, in_place=True)


@dataclass(frozen=True, slots=True)
class _Crossing:
    """The bin in which the threshold lies: scores from `low` to below `high`.

    `n_edges` counts the edges from `low` up, `n_in_bin` those in the bin; scores above the bin add up to `mass_above`.
    """

    low: float
    high: float
    n_edges: int
    n_in_bin: int
    mass_above: float
    total: float


@dataclass(frozen=True, slots=True)
class _ScoredRows:
    """An edge's score is abs(weight) times the factor of its row; `histogram` holds their sum and number per bin."""

    factors: Float[np.ndarray, "n_rows"]
    histogram: Float[np.ndarray, "n_bins 2"]
    first_key: int

    def crossing(self, share: float) -> _Crossing:
        mass, counts = self.histogram[::-1].cumsum(axis=0).T  # from the highest scores down
        total = float(mass[-1])
        step = int(np.searchsorted(mass, max(share * total, SMALLEST))) if share < 1 else N_BINS - 1
        chosen = max(N_BINS - 1 - step, 0)
        step = N_BINS - 1 - chosen
        low, high = (np.arange(2) + chosen + self.first_key << DROPPED_BITS).view(np.float64).tolist()
        return _Crossing(
            low=max(low, SMALLEST) if chosen > 0 else SMALLEST,
            high=high,
            n_edges=int(counts[step]),
            n_in_bin=int(self.histogram[chosen, 1]),
            mass_above=float(mass[step - 1]) if step > 0 else 0.0,
            total=total,
        )


def _score(
    adjacency: sp.csr_array,
    target_weights: Float[np.ndarray, "n_targets"],
    kept_rows: Bool[np.ndarray, "n_rows"],
    kept_sources: Bool[np.ndarray, "n_cols"],
) -> _ScoredRows:
    n_rows, n_cols = adjacency.shape
    influence = np.zeros(n_cols)
    scored = _ScoredRows(np.zeros(n_rows), np.zeros((N_BINS, 2)), _first_key(float(target_weights.sum())))
    arrays = csr_arrays(adjacency)
    longest = int(np.diff(arrays[0]).max(initial=0)) + 1
    scores = np.empty(longest)
    buffers = np.empty(longest, dtype=np.int32), scores, scores.view(np.int64)
    score_rows(
        *arrays,
        target_weights,
        kept_rows,
        kept_sources,
        influence,
        scored.factors,
        scored.histogram,
        scored.first_key,
        *buffers,
    )
    return scored


def _first_key(largest: float) -> int:
    """Key of the lowest bin. No path visits a node twice, so no score exceeds the sum of the target weights."""
    top = int(np.array([max(largest, SMALLEST)]).view(np.int64)[0]) >> DROPPED_BITS
    return max(top + 2 - N_BINS, 0)


def _select(
    adjacency: sp.csr_array,
    kept_rows: Bool[np.ndarray, "n_rows"],
    kept_sources: Bool[np.ndarray, "n_cols"],
    factors: Float[np.ndarray, "n_rows"],
    threshold: float,
    n_edges: int = 0,
    *,
    in_place: bool = False,
) -> sp.csr_array:
    """Edges between kept nodes with scores from `threshold` up; `n_edges` is at least their number."""
    indptr, indices, data = csr_arrays(adjacency)
    new_indptr = np.zeros_like(indptr)
    new_indices = indices if in_place else np.empty(n_edges + 1, dtype=np.int32)
    new_data = data if in_place else np.empty(n_edges + 1, dtype=data.dtype)
    n_kept = select_edges(
        indptr, indices, data, kept_rows, kept_sources, factors, threshold, new_indptr, new_indices, new_data
    )
    if n_kept <= np.iinfo(np.int32).max:
        new_indptr = new_indptr.astype(np.int32)  # or scipy would widen the indices too
    return sp.csr_array((new_data[:n_kept], new_indices[:n_kept], new_indptr), shape=adjacency.shape)
