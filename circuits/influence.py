"""Influence: how much of what a graph explains flows through each node.

The weights of the edges into a target are made positive and divided by their sum, so that they say which share of the
target each source supplies. A source's influence is the sum, over all paths from it to the explained targets, of the
product of these shares times the target's weight (Ameisen et al. 2025, "Circuit Tracing", on graph pruning). An edge
always runs from a lower layer to a higher one, so visiting targets of edges from the last layer to the first finds every
influence complete when it is needed: the Neumann sum w (A + A^2 + ...) costs one pass over the edges, not one per layer.
"""

import numpy as np
from jaxtyping import Float, Int

from circuits.compilation import compiled

__all__ = ["MIN_ROW_SUM", "partial_influence"]

MIN_ROW_SUM = 1e-10


def partial_influence(
    rows: Float[np.ndarray, "n_done n_cols"],
    row_feature: Int[np.ndarray, "n_done"],
    row_layer: Int[np.ndarray, "n_done"],
    target_weights: Float[np.ndarray, "n_targets"],
) -> Float[np.ndarray, "n_cols"]:
    """Influence of every column on the targets, through those rows that are known so far.

    The first `n_targets` rows are the graph's targets; the rows of features follow in any order. `rows` is read once,
    row by row, and neither copied nor changed.

    Args:
        rows: direct effects, signed or absolute, one row per target of edges.
        row_feature: the column of the feature that a row belongs to, -1 for the graph's targets.
        row_layer: the layer of that feature; not read for the graph's targets.
        target_weights: the weight of each of the graph's targets, not renormalised.

    Returns:
        Influence per column, float64.
    """
    order = np.argsort(-row_layer[len(target_weights) :].astype(np.int64), kind="stable") + len(target_weights)
    influence = np.zeros(rows.shape[1])
    _spread_dense(rows, row_feature, order, target_weights, influence)
    return influence


@compiled
def _spread_dense(rows, row_feature, order, target_weights, influence):  # type: ignore[no-untyped-def]
    for row in range(len(target_weights)):
        _spread_dense_row(rows[row], target_weights[row], influence)
    for row in order:
        _spread_dense_row(rows[row], influence[row_feature[row]], influence)


@compiled
def _spread_dense_row(values, weight, influence):  # type: ignore[no-untyped-def]
    total = 0.0
    for col in range(len(values)):
        total += abs(np.float64(values[col]))
    share = weight / max(total, MIN_ROW_SUM)
    for col in range(len(values)):
        influence[col] += abs(np.float64(values[col])) * share
