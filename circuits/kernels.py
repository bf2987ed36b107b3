"""Everything that Numba compiles: loops over the edges of a sparse graph, in the order of its layers.

All in one file, because a cached function is compiled again when its own file changes, not when one that it calls is.
Nothing here checks an index (`circuits.graph_validation` does), and all arrays are made by the callers. Rows are
targets of edges, columns are sources, as in `circuits.layout`: features come first and are sorted by layer, so the
sources of a row that are features have smaller numbers.

Three things make the loops fast. Small ones are functions of their own, because the compiler makes vector instructions
of them only then. Indices are cast to unsigned, which leaves out the test for counting from the end. Selecting writes
always and advances only for what is kept, because a branch would be mispredicted every other time.
"""

from functools import partial

import numpy as np

from circuits.compilation import compiled

__all__ = [
    "DROPPED_BITS",
    "MIN_ROW_SUM",
    "N_BINS",
    "add_up_packed",
    "gather_rows",
    "pack_rows",
    "score_rows",
    "scores_below",
    "select_edges",
    "spread",
    "spread_packed",
    "sweep_connected",
    "unpack_rows",
]

MIN_ROW_SUM = 1e-10

# A bin holds the scores that agree in the exponent and the first 8 bits of the mantissa: 256 bins for a factor of two.
# The lowest takes everything below 2**-64 of the largest score that is possible.
DROPPED_BITS = 44
N_BINS = 66 * 256


@partial(compiled, reassociate=True)
def _absolute_sum(values):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(len(values)):
        total += abs(np.float64(values[i]))
    return total


@compiled
def _row_sum(values):  # type: ignore[no-untyped-def]
    return max(_absolute_sum(values), MIN_ROW_SUM)


@compiled
def spread(indptr, indices, data, target_weights, influence):  # type: ignore[no-untyped-def]
    """Add to every column's influence what its targets hand on, from the last row to the first."""
    n_rows = len(indptr) - 1
    n_features = n_rows - len(target_weights)
    for step in range(n_rows):
        row = n_rows - 1 - step
        weight = influence[row] if row < n_features else target_weights[row - n_features]
        start, stop = indptr[row], indptr[row + 1]
        values = data[start:stop]
        _spread_row(indices[start:stop], values, weight / _row_sum(values), influence)


@compiled
def _spread_row(sources, values, share, influence):  # type: ignore[no-untyped-def]
    for i in range(len(values)):
        influence[np.uint32(sources[i])] += abs(np.float64(values[i])) * share


@compiled
def pack_rows(features, errors, tokens, starts, begins, below, positions, values, sums):  # type: ignore[no-untyped-def]
    """Copy the causal cone of dense rows into `values`, row i from `begins[i]` on, and add up absolute values."""
    for row in range(len(begins)):
        first, n_below, n_seen = begins[row], below[row], positions[row] + 1
        stop = first
        for pos in range(n_seen):
            col, size = starts[-1, pos], starts[n_below, pos + 1] - starts[n_below, pos]
            values[stop : stop + size] = features[row, col : col + size]
            stop += size
        for layer in range(n_below):
            values[stop : stop + n_seen] = errors[row, layer, :n_seen]
            stop += n_seen
        values[stop : stop + n_seen] = tokens[row, :n_seen]
        sums[row] = _absolute_sum(values[first : stop + n_seen])


@compiled
def spread_packed(  # type: ignore[no-untyped-def]
    values, starts, begins, below, positions, sums, row_col, order, target_weights, influence
):
    """`spread` for packed rows, to features alone: the targets first, then the others in the given order."""
    n_targets = len(target_weights)
    for step in range(n_targets + len(order)):
        row = step if step < n_targets else order[step - n_targets]
        weight = target_weights[row] if step < n_targets else influence[row_col[row]]
        share, n_below, first = weight / max(sums[row], MIN_ROW_SUM), below[row], begins[row]
        for pos in range(positions[row] + 1):
            start, stop = first + starts[n_below, pos], first + starts[n_below, pos + 1]
            _spread_run(values[start:stop], share, influence[starts[-1, pos] :])


@compiled
def _spread_run(values, share, influence):  # type: ignore[no-untyped-def]
    for i in range(len(values)):
        influence[i] += abs(np.float64(values[i])) * share


@compiled
def add_up_packed(values, starts, begins, below, positions, is_kept, n_kept, kept, omitted):  # type: ignore[no-untyped-def]
    """For every row, how many edges it has from kept features, errors and tokens, their sum, and that of the others."""
    for row in range(len(begins)):
        n_below, n_seen, first = below[row], positions[row] + 1, begins[row]
        for pos in range(n_seen):
            start, stop = first + starts[n_below, pos], first + starts[n_below, pos + 1]
            _add_up(values[start:stop], is_kept[starts[-1, pos] :], row, n_kept, kept, omitted)
        start = first + starts[n_below, n_seen]
        for value in values[start : start + (n_below + 1) * n_seen]:
            n_kept[row] += value != 0
            kept[row] += np.float64(value)


@compiled
def _add_up(values, is_kept, row, n_kept, kept, omitted):  # type: ignore[no-untyped-def]
    for i in range(len(values)):
        value = np.float64(values[i])
        if is_kept[i]:
            n_kept[row] += value != 0
            kept[row] += value
        else:
            omitted[row] += value


@compiled
def unpack_rows(  # type: ignore[no-untyped-def]
    values, starts, begins, below, positions, layers, pos_of, offsets, indptr, indices, data
):
    """Write the edges of packed rows from chosen features (sorted by layer), errors and tokens as sparse rows.

    `offsets` counts from the first feature at each feature's position.
    """
    n_features, n_pos = len(layers), starts.shape[1] - 1
    for row in range(len(begins)):
        n_below, n_seen, first, at = below[row], positions[row] + 1, begins[row], indptr[row]
        for col in range(n_features):
            if layers[col] >= n_below:
                break
            if pos_of[col] < n_seen:
                value = values[first + starts[n_below, pos_of[col]] + offsets[col]]
                if value != 0:
                    indices[at], data[at] = col, value
                    at += 1
        first += starts[n_below, n_seen]
        for layer in range(n_below + 1):  # the tokens follow the errors of the last layer
            start = n_features + (starts.shape[0] - 1 if layer == n_below else layer) * n_pos
            for pos in range(n_seen):
                value = values[first + layer * n_seen + pos]
                if value != 0:
                    indices[at], data[at] = start + pos, value
                    at += 1


@compiled
def gather_rows(matrix, stride, starts, source, sites, features, acts, out):  # type: ignore[no-untyped-def]
    """Copy decoder rows times activations of one source layer to their places among those of all that write.

    Args:
        matrix: the decoder as one line of numbers, rows `stride` apart.
        sites: first and last layer that writes, first position and the one after the last.
        features, acts: of all active features in position-major order.
        out: rows in position-major order, from `sites` alone.
    """
    d_model = out.shape[1]
    first_source, last_source, first_pos, stop_pos = sites
    before = starts[last_source + 1, first_pos] - starts[first_source, first_pos]
    for pos in range(first_pos, stop_pos):
        skipped = starts[source, pos + 1] - starts[source, pos]
        col = starts[-1, pos] + skipped
        to = starts[last_source + 1, pos] - starts[first_source, pos] - before
        to += skipped - (starts[first_source, pos + 1] - starts[first_source, pos])
        for i in range(starts[source + 1, pos + 1] - starts[source + 1, pos] - skipped):
            start = features[col + i] * stride
            _scaled_copy(matrix[start : start + d_model], acts[col + i], out[to + i])


@compiled
def _scaled_copy(values, factor, out):  # type: ignore[no-untyped-def]
    for i in range(len(out)):
        out[i] = values[i] * factor


@compiled
def score_rows(  # type: ignore[no-untyped-def]
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
    """Spread influence among kept nodes, with rows renormalised, and count the scores of the edges on the way.

    `factors[row]` times abs(weight) is an edge's score. `sources`, `scores` and `keys` (the bits of `scores`) are
    buffers for the longest row.
    """
    n_rows = len(indptr) - 1
    n_features = n_rows - len(target_weights)
    for step in range(n_rows):
        row = n_rows - 1 - step
        if kept_rows[row]:
            weight = influence[row] if row < n_features else target_weights[row - n_features]
            start, stop = indptr[row], indptr[row + 1]
            n_kept = _gather_kept(indices[start:stop], data[start:stop], kept_sources, sources, scores)
            factors[row] = weight / _row_sum(scores[:n_kept])
            _scale(scores[:n_kept], factors[row])
            _count(sources[:n_kept], scores[:n_kept], keys[:n_kept], influence, histogram, first_key)


@compiled
def _gather_kept(indices, data, kept_sources, sources, values):  # type: ignore[no-untyped-def]
    n_kept = np.uint64(0)
    for i in range(len(indices)):
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
def select_edges(  # type: ignore[no-untyped-def]
    indptr, indices, data, kept_rows, kept_sources, factors, threshold, new_indptr, new_indices, new_data
):
    """Copy the edges between kept nodes with scores from `threshold` up; the new arrays may be the old ones.

    New arrays of their own need one place more than there are edges to keep.
    """
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
def scores_below(indptr, data, factors, high, scores):  # type: ignore[no-untyped-def]
    """Collect the scores below `high`."""
    n_found = 0
    for row in range(len(indptr) - 1):
        for i in range(indptr[row], indptr[row + 1]):
            score = abs(np.float64(data[i])) * factors[row]
            if score < high:
                scores[n_found] = score
                n_found += 1
    return n_found


@compiled
def sweep_connected(indptr, indices, n_features, reached, used):  # type: ignore[no-untyped-def]
    """Mark the features that can be reached from below, and the sources from which a target can be reached."""
    for row in range(n_features):
        for i in range(indptr[row], indptr[row + 1]):
            if reached[indices[i]]:
                reached[row] = True
                break
    n_rows = len(indptr) - 1
    for step in range(n_rows):
        row = n_rows - 1 - step
        if row >= n_features or used[row]:
            for i in range(indptr[row], indptr[row + 1]):
                used[indices[i]] = True
