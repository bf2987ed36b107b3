"""Area under the ROC curve, quickly for many resamples of the same prompts."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import rankdata
from sklearn.metrics import roc_curve

__all__ = ["Auroc", "column_areas"]


@dataclass(frozen=True, slots=True, eq=False)
class Auroc:
    """How often a positive scores above a negative (a tie counts one half).

    Attributes:
        scores, positive: of every trial.
        wins: 1, 0.5 or 0 for each pair.
    """

    scores: Float[np.ndarray, "n"]
    positive: Bool[np.ndarray, "n"]
    wins: Float[np.ndarray, "n_positive n_negative"]

    @classmethod
    def of(cls, scores: Float[np.ndarray, "n"], positive: Bool[np.ndarray, "n"]) -> "Auroc":
        """The comparison of all pairs.

        Example:
            >>> Auroc.of(np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, False, True, True])).value
            0.875
        """
        high, low = scores[positive][:, None], scores[~positive][None]
        return cls(scores, positive, (high > low) + 0.5 * (high == low))

    @property
    def value(self) -> float:
        """Over all trials."""
        return float(self.weighted(np.ones((1, len(self.scores))))[0])

    def weighted(self, counts: Float[np.ndarray, "resample n"]) -> Float[np.ndarray, "resample"]:
        """Over trials that count so many times; one half where they are all positive or all negative."""
        positive, negative = counts[:, self.positive], counts[:, ~self.positive]
        pairs = positive.sum(1) * negative.sum(1)
        won = ((positive @ self.wins) * negative).sum(1)
        return np.divide(won, pairs, out=np.full(len(counts), 0.5), where=pairs > 0)

    def curve(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """False and true positive rates."""
        false, true, _ = roc_curve(self.positive, self.scores)
        return tuple(false.tolist()), tuple(true.tolist())


def column_areas(scores: Float[np.ndarray, "n column"], positive: Bool[np.ndarray, "n"]) -> Float[np.ndarray, "column"]:
    """The area of every column, from the ranks of its scores (Mann and Whitney)."""
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    ranks = rankdata(scores, axis=0)[positive].sum(0)
    return np.asarray((ranks - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))
