"""What features carry: of everything that is known about the prompts, what explains their activations best.

For each feature, and each thing that is known (the ones digit of the first number, the carry, the last digit of the
sum), the share of the activation's variance over the prompts that its values explain, less what as many groups drawn by
chance would (adjusted R squared). The largest says what the feature carries, if it is at least a half.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from circuits.influence import node_influence
from circuits.studies.multi_step.addition import DIGITS
from circuits.studies.multi_step.finding import Key, trace_case
from circuits.studies.multi_step.table import LAST, Case, position_of
from replacement_model import ReplacementModel

__all__ = ["Content", "addition_contents", "adjusted_r_squared", "known_of_sum"]

NOTHING = "none of these"
LEAST = 0.5
MIN_ACTIVE = 8
PLACES = (*DIGITS, LAST)


@dataclass(frozen=True, slots=True)
class Content:
    """What the features of one layer at one place carry.

    Attributes:
        place, layer: where.
        shares: of their influence on the answers, by what they carry.
        n_features: features that are active on enough prompts, by what they carry.
    """

    place: str
    layer: int
    shares: Mapping[str, float]
    n_features: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        counts, shares = dict(self.n_features), dict(self.shares)
        return {"place": self.place, "layer": self.layer, "shares": shares, "n_features": counts}


def known_of_sum(case: Case) -> dict[str, int]:
    """What is known about a sum."""
    tens_a, ones_a, tens_b, ones_b = (int(case.factors[name]) for name in DIGITS)
    total = 10 * (tens_a + tens_b) + ones_a + ones_b
    return {
        "tens of the first": tens_a,
        "ones of the first": ones_a,
        "tens of the second": tens_b,
        "ones of the second": ones_b,
        "sum of the tens": tens_a + tens_b,
        "sum of the ones": ones_a + ones_b,
        "carry": int(ones_a + ones_b > 9),
        "last digit of the sum": total % 10,
        "tens of the sum": total // 10,
    }


def addition_contents(
    model: ReplacementModel, cases: Sequence[Case], progress: Callable[[int, int], None] | None = None
) -> list[Content]:
    """Contents by place and layer, over the graphs of sums that the model answers rightly."""
    sums: dict[tuple[str, Key], list[tuple[int, float, float]]] = {}
    known: list[dict[str, int]] = []
    for number, case in enumerate(cases, 1):
        graph = trace_case(model, case)
        if graph is not None:
            influence = node_influence(graph.adjacency, np.ones(1))
            places = {position_of(case.at(place), graph.tokens): place for place in PLACES}
            for node, (layer, pos, idx) in enumerate(graph.features.tolist()):
                if pos in places:
                    row = (len(known), float(graph.feature_acts[node]), float(influence[node]))
                    sums.setdefault((places[pos], (layer, idx)), []).append(row)
            known.append(known_of_sum(case))
        if progress is not None:
            progress(number, len(cases))
    return _tabulated(sums, known)


def adjusted_r_squared(values: Float[np.ndarray, "n"], groups: Sequence[int]) -> float:
    """Share of the variance of `values` that `groups` explain, adjusted for their number; 0 where it cannot be said."""
    _, place, sizes = np.unique(np.array(groups), return_inverse=True, return_counts=True)
    n, n_groups = len(values), len(sizes)
    whole = float(((values - values.mean()) ** 2).sum())
    if whole == 0.0 or n <= n_groups:
        return 0.0
    means = np.bincount(place, values) / sizes
    left = float(((values - means[place]) ** 2).sum())
    return 1.0 - (left / (n - n_groups)) / (whole / (n - 1))


def _tabulated(
    sums: Mapping[tuple[str, Key], Sequence[tuple[int, float, float]]], known: Sequence[Mapping[str, int]]
) -> list[Content]:
    shares: dict[tuple[str, int], dict[str, float]] = {}
    counts: dict[tuple[str, int], dict[str, int]] = {}
    for (place, (layer, _)), rows in sorted(sums.items()):
        if len(rows) < MIN_ACTIVE:
            continue
        acts = np.zeros(len(known))
        for row, act, _ in rows:
            acts[row] = act
        name, here = _carried(acts, known), (place, layer)
        shares.setdefault(here, {})[name] = shares.get(here, {}).get(name, 0.0) + sum(row[2] for row in rows)
        counts.setdefault(here, {})[name] = counts.get(here, {}).get(name, 0) + 1
    order = sorted(shares, key=lambda here: (PLACES.index(here[0]), here[1]))
    return [
        Content(*here, {name: value / sum(shares[here].values()) for name, value in shares[here].items()}, counts[here])
        for here in order
        if sum(shares[here].values()) > 0
    ]


def _carried(acts: Float[np.ndarray, "n"], known: Sequence[Mapping[str, int]]) -> str:
    found = {name: adjusted_r_squared(acts, [one[name] for one in known]) for name in known[0]}
    best = max(found, key=lambda name: found[name])
    return best if found[best] >= LEAST else NOTHING
