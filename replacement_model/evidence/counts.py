"""How often, and how strongly, the features of a layer are active: counts in bins of activation, and extremes.

The bins are fixed, four to each power of two, so that one reading of the text suffices and counts add up exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from replacement_model.evidence.grouping import first_of_each

__all__ = ["Counts", "bin_edge", "bin_of"]

DROPPED_BITS = 21  # of a float32's mantissa of 23
MAGNITUDE = 0x7FFFFFFF


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """Of one layer over a part of a text.

    Attributes:
        feature, act_min, act_max: of every feature that is active anywhere, sorted.
        bin_feature, bin, count: active positions of a feature in a bin, sorted by both.
    """

    feature: Int[np.ndarray, "f"]
    act_min: Float[np.ndarray, "f"]
    act_max: Float[np.ndarray, "f"]
    bin_feature: Int[np.ndarray, "b"]
    bin: Int[np.ndarray, "b"]
    count: Int[np.ndarray, "b"]

    @classmethod
    def of(cls, feature_idx: Int[np.ndarray, "n"], acts: Float[np.ndarray, "n"]) -> "Counts":
        """Of single activations."""
        return _summed(feature_idx, acts, acts, feature_idx, bin_of(acts), np.ones(len(acts), np.int64))

    @classmethod
    def merged(cls, parts: "Sequence[Counts]") -> "Counts":
        """Of all parts together."""
        names = ("feature", "act_min", "act_max", "bin_feature", "bin", "count")
        return _summed(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def histogram(self, feature_idx: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """Counts in adjoining bins, and the edges of these; both empty for a feature that is never active."""
        first, last = np.searchsorted(self.bin_feature, [feature_idx, feature_idx + 1])
        if first == last:
            return (), ()
        bins = self.bin[first:last]
        counts = np.zeros(bins[-1] - bins[0] + 1, np.int64)
        counts[bins - bins[0]] = self.count[first:last]
        edges = bin_edge(np.arange(bins[0], bins[-1] + 2))
        return tuple(counts.tolist()), tuple(edges.tolist())

    def extremes(self, feature_idx: int) -> tuple[float, float]:
        """Smallest and largest activation; zeros for a feature that is never active."""
        at = int(np.searchsorted(self.feature, feature_idx))
        if at == len(self.feature) or self.feature[at] != feature_idx:
            return 0.0, 0.0
        return float(self.act_min[at]), float(self.act_max[at])


def bin_of(acts: Float[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """The bin of each activation, from the leading bits of its float32.

    >>> bin_of(np.array([1.0, 1.2, 1.25, 2.0], np.float32)).tolist()
    [508, 508, 509, 512]
    """
    bits = acts.astype(np.float32).view(np.int32).astype(np.int64)
    size = (bits & MAGNITUDE) >> DROPPED_BITS
    return np.where(bits < 0, -1 - size, size)


def bin_edge(number: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """Where each bin begins, on the number line from left to right.

    >>> bin_edge(np.array([508, 509, 512])).tolist()
    [1.0, 1.25, 2.0]
    """
    size = (np.abs(number).astype(np.int32) << DROPPED_BITS).view(np.float32)
    return np.where(number < 0, -size, size)


def _summed(
    feature: np.ndarray,
    act_min: np.ndarray,
    act_max: np.ndarray,
    bin_feature: np.ndarray,
    bins: np.ndarray,
    count: np.ndarray,
) -> Counts:
    order = np.argsort(feature, kind="stable")
    starts = np.flatnonzero(first_of_each(feature[order]))
    cells = np.lexsort((bins, bin_feature))
    begins = np.flatnonzero(first_of_each(bin_feature[cells], bins[cells]))
    if not len(starts):
        return Counts(feature, act_min, act_max, bin_feature, bins, count)
    return Counts(
        feature=feature[order][starts],
        act_min=np.minimum.reduceat(act_min[order], starts),
        act_max=np.maximum.reduceat(act_max[order], starts),
        bin_feature=bin_feature[cells][begins],
        bin=bins[cells][begins],
        count=np.add.reduceat(count[cells], begins),
    )
