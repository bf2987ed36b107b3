"""Rank correlations and cosines that say NaN, not a warning, where there is nothing to compare."""

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import rankdata

__all__ = ["Ranks", "cosine", "mean_of", "spearman"]


def spearman(first: Float[np.ndarray, "n"], second: Float[np.ndarray, "n"]) -> float:
    """Spearman's rank correlation; NaN below three values, or where all of one side are equal.

    Example:
        >>> spearman(np.array([1.0, 2.0, 9.0]), np.array([3.0, 4.0, 5.0]))
        1.0
    """
    if len(first) < 3:
        return float("nan")
    x, y = (rankdata(values) - (len(values) + 1) / 2 for values in (first, second))
    norm = float(np.sqrt((x @ x) * (y @ y)))
    return min(1.0, max(-1.0, float(x @ y) / norm)) if norm > 0 else float("nan")


def cosine(first: Float[np.ndarray, "n"], second: Float[np.ndarray, "n"]) -> float:
    """Cosine of the angle between two vectors; NaN if one is zero."""
    norm = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / norm if norm > 0 else float("nan")


def mean_of(values: "list[float]") -> float:
    """Mean of those that are not NaN; NaN if none is."""
    known = [value for value in values if not np.isnan(value)]
    return sum(known) / len(known) if known else float("nan")


class Ranks:
    """Values of many prompts, ranked together as often as each prompt is drawn: sorted once for all resamples."""

    def __init__(self, values: Float[np.ndarray, "n"], prompt: Int[np.ndarray, "n"]) -> None:
        self._prompt = prompt
        self._place = np.unique(values, return_inverse=True)[1]

    def spearman(self, other: "Ranks", times: Float[np.ndarray, "resample n_prompts"]) -> Float[np.ndarray, "resample"]:
        """Rank correlation of two kinds of values, with each prompt's values as often as a resample draws it."""
        return np.array([self._spearman(other, one[self._prompt]) for one in times])

    def _spearman(self, other: "Ranks", weights: np.ndarray) -> float:
        x, y = self._ranks(weights), other._ranks(weights)
        x, y = (one - (weights @ one) / weights.sum() for one in (x, y))
        norm = float(np.sqrt((weights @ x**2) * (weights @ y**2)))
        return float((weights * x) @ y) / norm if norm > 0 else float("nan")

    def _ranks(self, weights: np.ndarray) -> np.ndarray:
        counts = np.bincount(self._place, weights)
        return (np.cumsum(counts) - (counts - 1) / 2)[self._place]
