"""How much of a graph is explained: two scores between 0 and 1 (Ameisen et al. 2025, "Circuit Tracing").

Both are read off the influence of the sources, so they cost nothing once that is known.
"""

import numpy as np
from jaxtyping import Float

from circuits.layout import Layout

__all__ = ["completeness_score", "replacement_score"]


def replacement_score(layout: Layout, influence: Float[np.ndarray, "n_cols"]) -> float:
    """Share of the influence at the roots of the graph that comes from tokens instead of errors.

    A strict measure: a path counts only if features alone carry it from a token to a target. 0 where neither tokens nor
    errors have any influence.
    """
    tokens = float(influence[layout.token_nodes].sum())
    errors = float(influence[layout.error_nodes].sum())
    return tokens / (tokens + errors) if tokens + errors > 0 else 0.0


def completeness_score(
    layout: Layout, influence: Float[np.ndarray, "n_cols"], target_weights: Float[np.ndarray, "n_targets"]
) -> float:
    """Share of the input of all nodes, weighted by their influence, that comes from features and tokens.

    A mild measure: a node counts as far as its own sources are not errors. The errors' share of every row, times what
    the row hands on (its influence, or a target's weight), adds up to the influence of the errors.
    """
    total = float(influence.sum() + target_weights.sum())
    return 1.0 - float(influence[layout.error_nodes].sum()) / total if total > 0 else 0.0
