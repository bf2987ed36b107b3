"""Sorting and choosing in groups of equal keys: arrays that grow with what is active, never with tokens x features."""

import numpy as np

__all__ = ["first_of_each", "gather_ragged", "mixed", "ranks", "smallest_of_each"]


def ranks(*keys: np.ndarray) -> np.ndarray:
    """Place of each row within its run of equal keys; the rows are sorted by the keys.

    >>> ranks(np.array([3, 3, 5, 5, 5])).tolist()
    [0, 1, 0, 1, 2]
    """
    n = len(keys[0])
    starts = np.flatnonzero(first_of_each(*keys))
    return np.arange(n) - np.repeat(starts, np.diff(np.append(starts, n)))


def first_of_each(*keys: np.ndarray) -> np.ndarray:
    """Marks the first row of each run of equal keys.

    >>> first_of_each(np.array([3, 3, 5])).tolist()
    [True, False, True]
    """
    new = np.ones(len(keys[0]), dtype=bool)
    if len(new):
        new[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    return new


def smallest_of_each(group: np.ndarray, key: np.ndarray, count: int) -> np.ndarray:
    """Indices of the `count` rows of smallest key in each group, equal keys once (the earliest), sorted by both.

    >>> smallest_of_each(np.array([7, 7, 7, 2]), np.array([5, 1, 5, 9]), 2).tolist()
    [3, 1, 0]
    """
    order = np.lexsort((key, group))  # stable, so that of equal keys the earliest row comes first
    order = order[first_of_each(group[order], key[order])]
    return order[ranks(group[order]) < count]


def gather_ragged(sizes: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Indices of the items of the chosen rows, where row `i` has `sizes[i]` items, laid out one row after the other.

    >>> gather_ragged(np.array([2, 3, 1]), np.array([2, 0])).tolist()
    [5, 0, 1]
    """
    starts = np.cumsum(sizes) - sizes
    picked = sizes[chosen]
    within = np.arange(picked.sum()) - np.repeat(np.cumsum(picked) - picked, picked)
    return np.repeat(starts[chosen], picked) + within


def mixed(values: np.ndarray) -> np.ndarray:
    """Each 64-bit integer scattered over all of them (splitmix64), the same on every machine."""
    x = values.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
