"""From similarities to groups: average linkage (scipy), cut where the mean silhouette is largest.

Everything is determined by the input: no random numbers; features come in the graph's order, linkage merges the first
of equal pairs, and of equal silhouettes the smaller number of groups wins.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.cluster.hierarchy import cut_tree, linkage
from scipy.spatial.distance import squareform

from replacement_model.errors import InputError

__all__ = ["Clusters", "cluster", "mean_silhouette"]


@dataclass(frozen=True, slots=True)
class Clusters:
    """A partition of n things.

    Attributes:
        assignment: number of each thing's group; groups are numbered in order of their first member.
        n_groups: how many.
        silhouette: its mean silhouette, None where that is not defined (one group, or one for each).
    """

    assignment: Int[np.ndarray, "n"]
    n_groups: int
    silhouette: float | None


def cluster(similarity: Float[np.ndarray, "n n"], n_groups: int | None = None) -> Clusters:
    """Group things that are alike.

    Args:
        similarity: symmetric, 0 to 1, 1 on the diagonal.
        n_groups: how many groups; None for the number, from 2 to n - 1, with the largest mean silhouette. Fewer than
            three things have no such number: alike at 0.5 or more they are one group, else one each.

    Raises:
        InputError: more groups than things, or fewer than one.
    """
    n = len(similarity)
    if n_groups is not None and not 1 <= n_groups <= n:
        raise InputError(f"expected 1 to {n} groups of {n} features, got {n_groups}; prune less for more features")
    if n < 2:
        return Clusters(np.zeros(n, dtype=np.int64), n, None)
    distance = 1.0 - similarity
    np.fill_diagonal(distance, 0.0)
    cuts = cut_tree(linkage(squareform(distance, checks=False), "average"))  # [n, level]: n - level groups
    if n_groups is not None:
        chosen = n_groups
    elif n == 2:
        chosen = 1 if similarity[0, 1] >= 0.5 else 2
    else:
        scores = [mean_silhouette(distance, cuts[:, n - count]) for count in range(2, n)]
        chosen = 2 + int(np.argmax(scores))
    assignment = _numbered(cuts[:, n - chosen])
    return Clusters(assignment, chosen, mean_silhouette(distance, assignment) if 1 < chosen < n else None)


def mean_silhouette(distance: Float[np.ndarray, "n n"], assignment: Int[np.ndarray, "n"]) -> float:
    """Mean over all things of (b - a) / max(a, b) (Rousseeuw 1987).

    a is a thing's mean distance to the others of its group, b that to the nearest other group; 0 for a thing that is
    alone in its group. There must be at least two groups.
    """
    groups, own = np.unique(assignment, return_inverse=True)
    members = assignment[:, None] == groups  # [n, group]
    sums, sizes = distance @ members, members.sum(axis=0)
    rows = np.arange(len(distance))
    a = sums[rows, own] / np.maximum(sizes[own] - 1, 1)
    means = sums / sizes
    means[rows, own] = np.inf
    b = means.min(axis=1)
    largest = np.maximum(a, b)
    score = np.divide(b - a, largest, out=np.zeros_like(a), where=(largest > 0) & (sizes[own] > 1))
    return float(score.mean())


def _numbered(assignment: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """The same partition with groups numbered in order of their first member."""
    _, first, inverse = np.unique(assignment, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]
