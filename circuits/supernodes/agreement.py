"""How far two partitions of the same things agree, corrected for chance."""

import numpy as np
from jaxtyping import Float, Int
from scipy.special import gammaln

__all__ = ["adjusted_mutual_information", "adjusted_rand"]


def adjusted_rand(one: Int[np.ndarray, "n"], other: Int[np.ndarray, "n"]) -> float:
    """Pairs that both put together or both keep apart: 1 if all, 0 as many as by chance (Hubert, Arabie 1985)."""
    table = _contingency(one, other)
    both, rows, columns = (_pairs(counts).sum() for counts in (table, table.sum(axis=1), table.sum(axis=0)))
    total = _pairs(np.array([table.sum()])).sum()
    chance = rows * columns / total if total > 0 else 0.0
    largest = (rows + columns) / 2
    return float((both - chance) / (largest - chance)) if largest != chance else 1.0


def adjusted_mutual_information(one: Int[np.ndarray, "n"], other: Int[np.ndarray, "n"]) -> float:
    """Mutual information, 1 if equal, 0 as large as by chance (Vinh, Epps, Bailey 2010, arithmetic mean of entropies).

    Two partitions into one group each, or two into single things, are equal: 1. Where chance alone reaches the mean of
    the entropies, nothing can be said: 0.
    """
    table = _contingency(one, other)
    n = table.sum()
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    if len(rows) == len(columns) and (table > 0).sum() == len(rows):
        return 1.0
    filled = table > 0
    information = (table[filled] / n * np.log(n * table[filled] / np.outer(rows, columns)[filled])).sum()
    chance = sum(_expected_term(int(a), int(b), int(n)) for a in rows for b in columns)
    mean_entropy = (_entropy(rows / n) + _entropy(columns / n)) / 2
    room = mean_entropy - chance
    return float((information - chance) / room) if room > 1e-12 else 0.0


def _contingency(one: Int[np.ndarray, "n"], other: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n_one n_other"]:
    rows, columns = (np.unique(labels, return_inverse=True)[1] for labels in (one, other))
    table = np.zeros((rows.max(initial=0) + 1, columns.max(initial=0) + 1))
    np.add.at(table, (rows, columns), 1.0)
    return table


def _pairs(counts: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    return counts * (counts - 1) / 2


def _entropy(shares: Float[np.ndarray, "k"]) -> float:
    return float(-(shares * np.log(shares)).sum())


def _expected_term(a: int, b: int, n: int) -> float:
    """Mean contribution of a row of `a` and a column of `b` things to the information of random partitions."""
    common = np.arange(max(1, a + b - n), min(a, b) + 1)
    fixed = [a, b, n - a, n - b]
    free = [common, a - common, b - common, n - a - b + common, np.full_like(common, n)]
    log_chance = sum(gammaln(x + 1) for x in fixed) - sum(gammaln(x + 1) for x in free)
    return float((common / n * np.log(n * common / (a * b)) * np.exp(log_chance)).sum())
