"""The "unknown" supernode, and each prompt's "known entity" supernode, read from graphs of the split `choose`.

**Unknown**: features at one role and index whose mean direct effect on the contrast (declining minus answering), over
unknown entities that the model declined, is at least a tenth of the largest. **Known entity**: of one prompt, the
features at the entity whose total effect on the contrast is negative, and at least a tenth of the most negative.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from circuits.studies.hallucination.entity_table import ENTITY_ROLES
from circuits.studies.hallucination.reading import OUTCOMES, FeatureReading, Reading
from replacement_model.errors import InputError

__all__ = ["Member", "activation_at", "known_entity", "members_of", "share_on_contrast", "unknown_supernode"]

SHARE_OF_LARGEST = 0.1


@dataclass(frozen=True, slots=True)
class Member:
    """A feature of the "unknown" supernode.

    Attributes:
        role: where in the prompt.
        edge, activation: means over declined prompts of the split `choose`.
        active: share of all prompts of that split on which it is active there, by outcome.
    """

    role: str
    layer: int
    feature_idx: int
    edge: float
    activation: float
    active: dict[str, float]

    @property
    def place(self) -> tuple[str, int, int]:
        """As `FeatureReading.place`."""
        return self.role, self.layer, self.feature_idx

    @property
    def name(self) -> str:
        """For tables."""
        return f"L{self.layer} #{self.feature_idx}, {self.role}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


def unknown_supernode(readings: Sequence[Reading]) -> tuple[Member, ...]:
    """The features that argue most for declining, strongest first.

    Args:
        readings: of the split `choose`.

    Raises:
        InputError: the model declined no unknown entity.
    """
    declined = [one for one in readings if one.outcome == OUTCOMES[2]]
    if not declined:
        raise InputError(
            "the model declined no unknown entity of the split 'choose'; no feature can speak for declining"
        )
    edges: dict[tuple[str, int, int], float] = {}
    for feature in (feature for one in declined for feature in one.features):
        edges[feature.place] = edges.get(feature.place, 0.0) + feature.edge / len(declined)
    largest = max(edges.values(), default=0.0)
    chosen = [place for place, edge in edges.items() if edge > 0 and edge >= SHARE_OF_LARGEST * largest]
    chosen.sort(key=lambda place: (-edges[place], place))
    return tuple(_member(place, edges[place], declined, readings) for place in chosen)


def _member(
    place: tuple[str, int, int], edge: float, declined: Sequence[Reading], readings: Sequence[Reading]
) -> Member:
    active = {}
    for outcome in OUTCOMES:
        of_outcome = [one for one in readings if one.outcome == outcome]
        if of_outcome:
            active[outcome] = float(np.mean([activation_at(one, place) > 0 for one in of_outcome]))
    acts = [activation_at(one, place) / _n_positions(one, place[0]) for one in declined]
    return Member(*place, edge, float(np.mean(acts)), active)


def _n_positions(reading: Reading, role: str) -> int:
    """Positions of a role that have features."""
    return max(1, len({feature.pos for feature in reading.features if feature.role == role}))


def activation_at(reading: Reading, place: tuple[str, int, int]) -> float:
    """Activation of a feature at a role of a prompt, summed over its positions."""
    return sum(feature.activation for feature in reading.features if feature.place == place)


def members_of(reading: Reading, members: Sequence[Member]) -> tuple[FeatureReading, ...]:
    """The supernode's features that are active on a prompt."""
    places = {member.place for member in members}
    return tuple(feature for feature in reading.features if feature.place in places)


def known_entity(reading: Reading) -> tuple[FeatureReading, ...]:
    """The features at the entity that argue most against declining, strongest first."""
    against = [one for one in reading.features if one.role in ENTITY_ROLES and one.effect < 0]
    least = min((one.effect for one in against), default=0.0)
    chosen = [one for one in against if one.effect <= SHARE_OF_LARGEST * least]
    return tuple(sorted(chosen, key=lambda one: (one.effect, one.layer, one.pos, one.feature_idx)))


def share_on_contrast(reading: Reading, members: Sequence[Member]) -> dict[str, float]:
    """How strongly the supernodes speak on a prompt: activations, and shares of all direct and total effects."""
    unknown, against = members_of(reading, members), known_entity(reading)
    edges = sum(abs(one.edge) for one in reading.features)
    effects = sum(abs(one.effect) for one in reading.features)
    found = {f"activation of {member.name}": activation_at(reading, member.place) for member in members}
    return found | {
        "unknown, share of direct effects": sum(one.edge for one in unknown) / max(edges, 1e-12),
        "unknown, share of total effects": sum(one.effect for one in unknown) / max(effects, 1e-12),
        "known entity, share of total effects": sum(one.effect for one in against) / max(effects, 1e-12),
        "known entity, features": float(np.log1p(len(against))),
    }
