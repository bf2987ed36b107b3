"""What a node does to a target through the whole graph, with its sign: directly, and through the features it drives.

With attention, norms and errors held and features answering in proportion to their input, the effect of node s on a
target c is T[s] = A[c, s] + sum over features t of T[t] / a[t] * A[t, s], where a[t] is t's activation: A[t, s] of its
pre-activation comes from s, and a feature that gains one unit passes on T[t] / a[t]. Influence has no sign; this has.
"""

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float
from scipy.sparse.linalg import spsolve_triangular

from circuits.graph import Graph

__all__ = ["signed_effects"]


def signed_effects(graph: Graph, weights: Float[np.ndarray, "n_targets"]) -> Float[np.ndarray, "n_cols"]:
    """Total effect of every source on a weighted sum of the graph's targets, in the targets' units.

    Args:
        graph: every active feature should have a row; what flows through others is missing.
        weights: of each target in the sum, such as (1, -1) for a difference of two logits.

    Returns:
        float64, in the order of the graph's columns.
    """
    n = graph.layout.n_features
    direct = weights @ graph.adjacency[graph.layout.target_rows].astype(np.float64)  # [n_cols]
    acts = graph.feature_acts.astype(np.float64)
    rows = sp.diags_array(1 / np.where(acts > 0, acts, np.inf)) @ graph.adjacency[:n].astype(np.float64)
    if not n:
        return np.asarray(direct)
    # a source is in a lower layer than its targets, so features sorted by layer make an upper triangular system
    system = sp.csr_array(sp.eye_array(n) - sp.csr_array(rows)[:, :n].T)
    through = spsolve_triangular(system, np.asarray(direct[:n]), lower=False, unit_diagonal=True)
    return np.asarray(direct + through @ rows)
