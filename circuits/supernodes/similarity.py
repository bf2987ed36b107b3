"""How alike two features of a circuit are, five ways, each between 0 (nothing in common) and 1.

    incoming      cosine of their rows of the unpruned graph, each edge as a share of the row's summed abs(edges)
    outgoing      cosine of their columns: the shares that they supply of every feature's and target's input, times the
                  square root of what that feature or target hands on to the targets
    decoder       cosine of what they write to the residual stream, summed over the layers that they write to
    activation    cosine of their activations over the contexts of a corpus
    labels        1 if they have the same measured concept (or the same text, where a label was not measured), 0 if not;
                  where one has none, the Jaccard index of the tokens that their decoders raise most

A negative cosine counts as 0: to do the opposite is not to be alike. A pair that a similarity can say nothing of is
NaN there: a feature without edges, without a decoder row, inactive in the whole corpus, or without any label.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from circuits.graph import Graph
from circuits.influence import node_influence
from circuits.supernodes.naming import meaning
from replacement_model.labels import FeatureLabel

__all__ = [
    "WEIGHTS",
    "combine",
    "cosine_similarity",
    "incoming_similarity",
    "label_similarity",
    "outgoing_similarity",
]

WEIGHTS: Mapping[str, float] = {"incoming": 1.0, "outgoing": 1.0, "decoder": 2.0, "activation": 8.0, "labels": 2.0}
"""What each similarity counts in `combine`: chosen once, on validation prompts (docs/supernodes.md)."""


def combine(
    similarities: Mapping[str, Float[np.ndarray, "n n"]], weights: Mapping[str, float] = WEIGHTS
) -> Float[np.ndarray, "n n"]:
    """The weighted mean of the similarities that are known for a pair; 0 where none is, and 1 on the diagonal.

    Args:
        similarities: by their names, each symmetric, in [0, 1] or NaN.
        weights: of every name in `similarities`.
    """
    names = list(similarities)
    stack = np.stack([similarities[name] for name in names])  # [similarity, n, n]
    known = np.where(np.isnan(stack), 0.0, np.array([weights[name] for name in names])[:, None, None])
    total = known.sum(axis=0)
    mean = (known * np.nan_to_num(stack)).sum(axis=0) / np.where(total > 0, total, 1.0)
    mean = np.clip((mean + mean.T) / 2, 0.0, 1.0)
    np.fill_diagonal(mean, 1.0)
    return mean


def incoming_similarity(graph: Graph, nodes: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n n"]:
    """Likeness of what feature nodes are made of."""
    return cosine_similarity(_shares(graph)[nodes])


def outgoing_similarity(graph: Graph, nodes: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n n"]:
    """Likeness of what feature nodes act on, as far as that reaches the graph's targets."""
    influence = node_influence(graph.adjacency, graph.target_weights)
    handed_on = np.concatenate([influence[graph.layout.feature_nodes], graph.target_weights])
    columns = _shares(graph).tocsc()[:, nodes].multiply(np.sqrt(handed_on)[:, None])
    return cosine_similarity(sp.csr_array(columns.T))


def label_similarity(labels: Sequence[FeatureLabel | None]) -> Float[np.ndarray, "n n"]:
    """Likeness of what features are said to stand for."""
    similarity = np.full((len(labels), len(labels)), np.nan)
    for i, one in enumerate(labels):
        for j, other in enumerate(labels[: i + 1]):
            similarity[i, j] = similarity[j, i] = _label_pair(one, other)
    return similarity


def cosine_similarity(rows: Float[np.ndarray, "n k"] | sp.csr_array) -> Float[np.ndarray, "n n"]:
    """Cosines between rows, negative ones as 0; NaN for a row of zeros."""
    exact = rows.astype(np.float64)
    products = exact @ exact.T
    dense: Float[np.ndarray, "n n"] = products.toarray() if isinstance(products, sp.csr_array) else products
    norms = np.sqrt(np.diag(dense))
    scale = np.outer(norms, norms)
    cosines = np.divide(dense, scale, out=np.full_like(dense, np.nan), where=scale > 0)
    return np.clip(cosines, 0.0, 1.0)


def _shares(graph: Graph) -> sp.csr_array:
    """The adjacency with every row divided by its summed abs(edges)."""
    edges = sp.csr_array(graph.adjacency, dtype=np.float64)
    sums = np.asarray(abs(edges).sum(axis=1)).ravel()
    return sp.csr_array(sp.diags_array(1 / np.where(sums > 0, sums, 1.0)) @ edges)


def _label_pair(one: FeatureLabel | None, other: FeatureLabel | None) -> float:
    if one is None or other is None:
        return float("nan")
    names = meaning(one), meaning(other)
    if None not in names:
        return float(names[0] == names[1])
    raised = set(one.top_logits), set(other.top_logits)
    if not all(raised):
        return float("nan")
    return len(raised[0] & raised[1]) / len(raised[0] | raised[1])
