"""The examples that are kept of each feature while a text is read: the strongest, and a sample of all.

An example is a context in which the feature is active, at its strongest position there. The sample is made of those
whose prefix, the tokens up to that position, has the smallest hash: a uniform choice among distinct prefixes, the same
in every run. A sentence that occurs a hundred times is one example, not a hundred.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from replacement_model.evidence.activity import Activity
from replacement_model.evidence.contexts import Batch
from replacement_model.evidence.grouping import first_of_each, gather_ragged, ranks, smallest_of_each

__all__ = ["Examples"]


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Of one layer over a part of a text.

    Attributes:
        feature, context: of each example.
        peak, peak_act: its strongest position, the earliest if there are several, and the activation there.
        prefix: hash of the tokens up to the peak.
        n_active: number of active positions.
        pos, acts: these positions and their activations, one example after the other.
    """

    feature: Int[np.ndarray, "e"]
    context: Int[np.ndarray, "e"]
    peak: Int[np.ndarray, "e"]
    peak_act: Float[np.ndarray, "e"]
    prefix: Int[np.ndarray, "e"]
    n_active: Int[np.ndarray, "e"]
    pos: Int[np.ndarray, "n"]
    acts: Float[np.ndarray, "n"]

    def __len__(self) -> int:
        return len(self.feature)

    @classmethod
    def of(cls, activity: Activity, batch: Batch, prefixes: Int[np.ndarray, "context pos"]) -> "Examples":
        """All that one batch gives; `prefixes` are its hashes."""
        order = np.lexsort((activity.pos, activity.context, activity.feature_idx))
        feature, context, pos, acts = (
            values[order] for values in (activity.feature_idx, activity.context, activity.pos, activity.acts)
        )
        starts = np.flatnonzero(first_of_each(feature, context))
        sizes = np.diff(np.append(starts, len(feature)))
        strongest = np.maximum.reduceat(acts, starts) if len(starts) else acts
        at_peak = np.flatnonzero(acts == np.repeat(strongest, sizes))
        at_peak = at_peak[first_of_each(feature[at_peak], context[at_peak])]
        return cls(
            feature=feature[starts],
            context=context[starts],
            peak=pos[at_peak],
            peak_act=strongest,
            prefix=prefixes[context[at_peak] - batch.first, pos[at_peak]],
            n_active=sizes,
            pos=pos,
            acts=acts,
        )

    @classmethod
    def merged(cls, parts: "Sequence[Examples]", n_top: int, n_sample: int) -> "Examples":
        """Of consecutive parts of a text, at most `n_top` + `n_sample` a feature."""
        joined = cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__slots__))
        joined = joined._take(smallest_of_each(joined.feature, joined.prefix, len(joined)))
        kept = np.union1d(joined.strongest(n_top), joined.sample(n_sample))
        return joined._take(kept[np.lexsort((joined.context[kept], joined.feature[kept]))])

    def of_feature(self, feature_idx: int) -> "Examples":
        """Those of one feature."""
        return self._take(np.arange(*np.searchsorted(self.feature, [feature_idx, feature_idx + 1])))

    def strongest(self, count: int) -> Int[np.ndarray, "n"]:
        """Indices of each feature's strongest examples; ties go to the smaller hash."""
        order = np.lexsort((self.prefix, -self.peak_act, self.feature))
        return order[ranks(self.feature[order]) < count]

    def sample(self, count: int) -> Int[np.ndarray, "n"]:
        """Indices of the examples of each feature whose hash is smallest."""
        return smallest_of_each(self.feature, self.prefix, count)

    def acts_of(self, index: int, n_pos: int) -> Float[np.ndarray, "pos"]:
        """Activations at every position of an example's context."""
        found = np.zeros(n_pos, np.float32)
        inside = gather_ragged(self.n_active, np.array([index]))
        found[self.pos[inside]] = self.acts[inside]
        return found

    def _take(self, chosen: Int[np.ndarray, "k"]) -> "Examples":
        inside = gather_ragged(self.n_active, chosen)
        own = {name: getattr(self, name)[chosen] for name in Examples.__slots__[:-2]}
        return Examples(**own, pos=self.pos[inside], acts=self.acts[inside])
