"""Which features tell known entities, declined ones and inventions apart: chosen on one split, scored on the other.

A feature tells two outcomes apart as well as its activation ranks them (AUROC; 0.5 is chance). Per layer and place the
best one is chosen on the split `choose`, and its AUROC on `score`, which shares no family with it, is reported in the
same direction. A feature of one surname can be the best only where its families are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float

from circuits.studies.auroc import Auroc, column_areas
from circuits.studies.hallucination.reading import OUTCOMES, READ_ROLES, Reading
from circuits.studies.statistics import Estimate, weighted_estimate

__all__ = ["Separation", "separate"]

COMPARED = (OUTCOMES[0], OUTCOMES[2], OUTCOMES[3])
GOOD = 0.8
SEED = 29


@dataclass(frozen=True, slots=True)
class Separation:
    """The feature of one layer and place that tells two outcomes apart best.

    Attributes:
        first, second: outcomes; the feature is more active on the first if `sign` is 1.
        chosen: AUROC on `choose`; scored: on `score`, in the same direction.
        n_features: features active there on some prompt of `choose`.
        n_good: of these, how many have an AUROC of at least `GOOD`; n_still_good: how many of them on `score` too.
    """

    first: str
    second: str
    role: str
    layer: int
    feature_idx: int
    sign: int
    chosen: float
    scored: Estimate
    n_features: int
    n_good: int
    n_still_good: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {name: getattr(self, name) for name in self.__slots__} | {"scored": self.scored.to_dict()}


def separate(readings: Sequence[Reading]) -> tuple[Separation, ...]:
    """The best feature for every two outcomes, layer and place, where both splits have both outcomes."""
    found: list[Separation] = []
    for pair in combinations(COMPARED, 2):
        parts = [
            [one for one in readings if one.row.split == split and one.outcome in pair] for split in ("choose", "score")
        ]
        if not all({one.outcome for one in part} == set(pair) for part in parts):
            continue
        layers = sorted({feature.layer for one in parts[0] for feature in one.features})
        for role in READ_ROLES:
            found.extend(best for layer in layers if (best := _best(pair, role, layer, *parts)) is not None)
    return tuple(found)


def _best(
    pair: tuple[str, str], role: str, layer: int, choose: Sequence[Reading], score: Sequence[Reading]
) -> Separation | None:
    features = sorted({one.feature_idx for each in choose for one in each.features if one.place[:2] == (role, layer)})
    if not features:
        return None
    acts = [_activations(part, role, layer, features) for part in (choose, score)]
    firsts = [np.array([one.outcome == pair[0] for one in part]) for part in (choose, score)]
    chosen, scored = (column_areas(*one) for one in zip(acts, firsts, strict=True))
    sign = np.where(chosen >= 0.5, 1, -1)
    clear, still = (np.where(sign > 0, areas, 1 - areas) for areas in (chosen, scored))
    best = int(np.argmax(clear))
    area = Auroc.of(sign[best] * acts[1][:, best], firsts[1])
    groups = [one.row.group for one in score]
    good = clear >= GOOD
    return Separation(
        first=pair[0],
        second=pair[1],
        role=role,
        layer=layer,
        feature_idx=features[best],
        sign=int(sign[best]),
        chosen=float(clear[best]),
        scored=weighted_estimate(area.weighted, groups, np.random.default_rng(SEED)),
        n_features=len(features),
        n_good=int(good.sum()),
        n_still_good=int((good & (still >= GOOD)).sum()),
    )


def _activations(
    readings: Sequence[Reading], role: str, layer: int, features: Sequence[int]
) -> Float[np.ndarray, "n feature"]:
    """Summed over the positions of the role."""
    column = {idx: place for place, idx in enumerate(features)}
    found = np.zeros((len(readings), len(features)))
    for row, reading in enumerate(readings):
        for one in reading.features:
            if one.place[:2] == (role, layer) and one.feature_idx in column:
                found[row, column[one.feature_idx]] += one.activation
    return found
