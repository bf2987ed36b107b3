"""Influence: how much of what a graph explains flows through each node.

The weights of the edges into a target are made positive and divided by their sum, so that they say which share of the
target each source supplies. A source's influence is the sum, over all paths from it to the explained targets, of the
product of these shares times the target's weight (Ameisen et al. 2025, "Circuit Tracing", on graph pruning). An edge
always runs from a lower layer to a higher one, so visiting rows from the last layer to the first finds every influence
complete when it is needed: the Neumann sum w (A + A^2 + ...) costs one pass over the edges, not one per layer.
"""

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from circuits.kernels import MIN_ROW_SUM, spread

__all__ = ["MIN_ROW_SUM", "csr_arrays", "node_influence"]


def node_influence(
    adjacency: sp.csr_array, target_weights: Float[np.ndarray, "n_targets"]
) -> Float[np.ndarray, "n_cols"]:
    """Influence of every source on the targets.

    Args:
        adjacency: (n_features + n_targets, n_cols), `[target, source]`, as in `Graph`: features sorted by layer.
        target_weights: the weight of each of the last `n_targets` rows, not renormalised.

    Returns:
        Influence per column, float64, in units of the target weights.

    Example:
        >>> chain = sp.csr_array(np.array([[0.0, -2.0], [3.0, 1.0]], dtype=np.float32))  # feature, target
        >>> node_influence(chain, np.array([1.0])).tolist()
        [0.75, 1.0]
    """
    influence = np.zeros(adjacency.shape[1])
    spread(*csr_arrays(adjacency), target_weights, influence)
    return influence


def csr_arrays(
    adjacency: sp.csr_array,
) -> tuple[Int[np.ndarray, "n_rows_plus_1"], Int[np.ndarray, "n_edges"], Float[np.ndarray, "n_edges"]]:
    """Row offsets, columns and values with the types that the kernels are compiled for; copies only what differs."""
    data = adjacency.data
    if data.dtype not in (np.float32, np.float64):
        data = data.astype(np.float64)
    return adjacency.indptr.astype(np.int64), adjacency.indices.astype(np.int32, copy=False), data
