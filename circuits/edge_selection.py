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

from circuits.compilation import compiled
from circuits.influence import csr_arrays, row_sum

__all__ = ["SMALLEST", "drop_edges", "share_threshold", "strongest_edges"]

# A bin holds the scores that agree in the exponent and the first 8 bits of the mantissa: 256 bins for a factor of two.
# The lowest takes everything below 2**-64 of the largest score that is possible.
DROPPED_BITS = 44
N_BINS = 66 * 256

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
    found = _scores_below(*csr_arrays(edges)[::2], scored.factors, crossing.high, in_bin)
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
    _score_rows(
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
    n_kept = _select_edges(
        indptr, indices, data, kept_rows, kept_sources, factors, threshold, new_indptr, new_indices, new_data
    )
    if n_kept <= np.iinfo(np.int32).max:
        new_indptr = new_indptr.astype(np.int32)  # or scipy would widen the indices too
    return sp.csr_array((new_data[:n_kept], new_indices[:n_kept], new_indptr), shape=adjacency.shape)


@compiled
def _score_rows(  # type: ignore[no-untyped-def]
    indptr,
    indices,
    data,
    target_weights,
    kept_rows,
    kept_sources,
    influence,
    factors,
    histogram,
    first_key,
    sources,
    scores,
    keys,
):
    n_rows = len(indptr) - 1
    n_features = n_rows - len(target_weights)
    for step in range(n_rows):
        row = n_rows - 1 - step
        if kept_rows[row]:
            weight = influence[row] if row < n_features else target_weights[row - n_features]
            start, stop = indptr[row], indptr[row + 1]
            n_kept = _gather_kept(indices[start:stop], data[start:stop], kept_sources, sources, scores)
            factors[row] = weight / row_sum(scores[:n_kept])
            _scale(scores[:n_kept], factors[row])
            _count(sources[:n_kept], scores[:n_kept], keys[:n_kept], influence, histogram, first_key)


@compiled
def _gather_kept(indices, data, kept_sources, sources, values):  # type: ignore[no-untyped-def]
    n_kept = np.uint64(0)
    for i in range(len(indices)):
        # Write always and advance only for a kept source: a branch here would be mispredicted every other time.
        source = np.uint32(indices[i])
        sources[n_kept] = source
        values[n_kept] = abs(np.float64(data[i]))
        n_kept += np.uint64(kept_sources[source])
    return n_kept


@compiled
def _scale(values, factor):  # type: ignore[no-untyped-def]
    for i in range(len(values)):
        values[i] *= factor


@compiled
def _count(sources, scores, keys, influence, histogram, first_key):  # type: ignore[no-untyped-def]
    for i in range(len(scores)):
        influence[np.uint32(sources[i])] += scores[i]
        chosen = (keys[i] >> DROPPED_BITS) - first_key
        if chosen < 0:
            chosen = 0
        if chosen >= N_BINS:
            chosen = N_BINS - 1
        histogram[chosen, 0] += scores[i]
        histogram[chosen, 1] += 1.0


@compiled
def _select_edges(  # type: ignore[no-untyped-def]
    indptr, indices, data, kept_rows, kept_sources, factors, threshold, new_indptr, new_indices, new_data
):
    n_kept = np.uint64(0)
    for row in range(len(indptr) - 1):
        if kept_rows[row]:
            start, stop = indptr[row], indptr[row + 1]
            n_kept = _select_row(
                indices[start:stop],
                data[start:stop],
                kept_sources,
                factors[row],
                threshold,
                new_indices,
                new_data,
                n_kept,
            )
        new_indptr[row + 1] = n_kept
    return n_kept


@compiled
def _select_row(  # type: ignore[no-untyped-def]
    indices, data, kept_sources, factor, threshold, new_indices, new_data, n_kept
):
    for i in range(len(indices)):
        source, value = np.uint32(indices[i]), data[i]
        new_indices[n_kept] = source
        new_data[n_kept] = value
        n_kept += np.uint64(kept_sources[source] & (abs(np.float64(value)) * factor >= threshold))
    return n_kept


@compiled
def _scores_below(indptr, data, factors, high, scores):  # type: ignore[no-untyped-def]
    n_found = 0
    for row in range(len(indptr) - 1):
        for i in range(indptr[row], indptr[row + 1]):
            score = abs(np.float64(data[i])) * factors[row]
            if score < high:
                scores[n_found] = score
                n_found += 1
    return n_found
