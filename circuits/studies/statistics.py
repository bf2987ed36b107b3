"""Rates with intervals. Prompts of one city (person, word) are not independent: intervals are over such clusters."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import norm

from replacement_model.errors import InputError

__all__ = [
    "Estimate",
    "clustered_estimate",
    "clustered_mean",
    "clustered_rate",
    "rate",
    "weighted_estimate",
]

CONFIDENCE = 0.95
N_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and its interval.

    Attributes:
        value: the estimate.
        low, high: ends of the interval at `CONFIDENCE`.
        n: trials.
        n_clusters: independent groups of them; `n` where each trial is one.
        method: `wilson` or `bootstrap` (percentiles, clusters drawn with replacement).
    """

    value: float
    low: float
    high: float
    n: int
    n_clusters: int
    method: str

    @property
    def text(self) -> str:
        """A cell of a table.

        Example:
            >>> rate([True, True, True, False]).text
            '0.750 (0.301 to 0.954)'
        """
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


def rate(successes: Sequence[bool]) -> Estimate:
    """The share of successes in independent trials, with Wilson's interval.

    Raises:
        InputError: there are no trials.
    """
    n = len(successes)
    return _wilson(sum(map(bool, successes)) / max(n, 1), n, n)


def clustered_rate(successes: Sequence[bool], clusters: Sequence[str], generator: np.random.Generator) -> Estimate:
    """The share of successes in trials of which those of one cluster hang together.

    The interval is a bootstrap over clusters. Where all clusters have one rate, every resample has it too, and an
    interval of no width would claim certainty; then it is Wilson's, with each cluster as one trial.

    Args:
        successes: of every trial.
        clusters: what each trial is about, such as its city.
        generator: draws the resamples.

    Raises:
        InputError: there are no trials, or not one cluster each.
    """
    found, place = _places(clusters, len(successes))
    values = np.array(successes, dtype=np.float64)
    if np.ptp(np.bincount(place, values) / np.bincount(place)) < 1e-12:
        return _wilson(float(values.mean()), len(found), len(values))
    return clustered_mean(values, clusters, generator)


def clustered_mean(
    values: Float[np.ndarray, "n"] | Sequence[float], clusters: Sequence[str], generator: np.random.Generator
) -> Estimate:
    """The mean over trials, with a bootstrap over clusters; what `clustered_estimate` gives for it, but quicker."""
    found, place = _places(clusters, len(values))
    totals, sizes = np.bincount(place, values), np.bincount(place)  # [cluster]
    drawn = _draws(len(found), generator)
    return _estimate(float(np.mean(values)), (drawn @ totals) / (drawn @ sizes), len(values), len(found))


def clustered_estimate(
    statistic: Callable[[Int[np.ndarray, "k"]], float], clusters: Sequence[str], generator: np.random.Generator
) -> Estimate:
    """Any statistic of the trials, with a bootstrap over clusters.

    Args:
        statistic: of the trials with these numbers, some of them several times.
        clusters: what each trial is about.
        generator: draws the resamples.

    Raises:
        InputError: there are no trials, or the statistic is not finite for some resample.
    """
    found, place = _places(clusters, len(clusters))
    rows = np.arange(len(clusters))
    value = float(statistic(rows))
    drawn = _draws(len(found), generator)
    resampled = np.array([statistic(np.repeat(rows, counts[place])) for counts in drawn])
    if not np.isfinite(resampled).all():
        raise InputError("expected a statistic that is finite for every resample, got NaN; give more clusters")
    return _estimate(value, resampled, len(clusters), len(found))


def weighted_estimate(
    statistic: Callable[[Float[np.ndarray, "resample n"]], Float[np.ndarray, "resample"]],
    clusters: Sequence[str],
    generator: np.random.Generator,
) -> Estimate:
    """As `clustered_estimate`, for a statistic that takes all resamples at once: how often each trial is in each.

    Raises:
        InputError: as for `clustered_estimate`.
    """
    found, place = _places(clusters, len(clusters))
    value = float(statistic(np.ones((1, len(clusters))))[0])
    resampled = statistic(_draws(len(found), generator)[:, place].astype(np.float64))
    if not np.isfinite(resampled).all():
        raise InputError("expected a statistic that is finite for every resample, got NaN; give more clusters")
    return _estimate(value, resampled, len(clusters), len(found))


def _wilson(share: float, n_trials: int, n: int) -> Estimate:
    """Wilson's interval, also for a share that is no whole number of the trials."""
    if n_trials == 0:
        raise InputError("expected at least one trial to take a rate of, got none; give more prompts")
    z = float(norm.ppf((1 + CONFIDENCE) / 2))
    shrink = 1 + z * z / n_trials
    centre = (share + z * z / (2 * n_trials)) / shrink
    half = z * math.sqrt(share * (1 - share) / n_trials + z * z / (4 * n_trials**2)) / shrink
    return Estimate(share, max(0.0, centre - half), min(1.0, centre + half), n, n_trials, "wilson")


def _places(clusters: Sequence[str], n: int) -> tuple[tuple[str, ...], Int[np.ndarray, "n"]]:
    """The clusters in order of appearance, and which of them each trial belongs to."""
    if not n or len(clusters) != n:
        raise InputError(f"expected one cluster for each of at least one trial, got {len(clusters)} for {n}")
    number = {name: index for index, name in enumerate(dict.fromkeys(clusters))}
    return tuple(number), np.array([number[name] for name in clusters])


def _draws(n_clusters: int, generator: np.random.Generator) -> Int[np.ndarray, "resample cluster"]:
    """How often each cluster is in each resample."""
    return generator.multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), size=N_RESAMPLES)


def _estimate(value: float, resampled: Float[np.ndarray, "resample"], n: int, n_clusters: int) -> Estimate:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail]).tolist()
    return Estimate(value, low, high, n, n_clusters, "bootstrap")
