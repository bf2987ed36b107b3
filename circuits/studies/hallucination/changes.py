"""What a steering test changes on a prompt, and random changes of equal count, places and norms."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from circuits.studies.hallucination.reading import READ_ROLES, FeatureReading, Reading
from circuits.studies.hallucination.supernodes import Member, known_entity, members_of
from replacement_model import Feature, InputError, Intervention, ReplacementModel

__all__ = ["SteeringTest", "changed_features", "feature_pools", "intervention_of", "random_intervention"]

Pools = dict[tuple[str, int], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class SteeringTest:
    """What is done to which prompts, and what should follow.

    Attributes:
        name: for tables.
        outcome: the prompts, one of `OUTCOMES`.
        supernode: `unknown` or `known entity`.
        operation: `suppress` (activations times the strength) or `amplify` (set to the mean on declined prompts, times
            the strength).
        strengths: to choose from, mildest first.
        expected: `answers` or `declines`.
    """

    name: str
    outcome: str
    supernode: str
    operation: str
    strengths: tuple[float, ...]
    expected: str


@dataclass(frozen=True, slots=True)
class Change:
    """A feature, and the activation that it goes from and to."""

    layer: int
    pos: int
    feature_idx: int
    role: str
    before: float
    after: float

    @property
    def feature(self) -> Feature:
        """What an intervention names."""
        return Feature(self.layer, self.feature_idx, self.pos)


def changed_features(
    test: SteeringTest, reading: Reading, members: Sequence[Member], strength: float
) -> tuple[Change, ...]:
    """What a test changes on a prompt; nothing where the supernode has no feature there."""
    if test.operation == "amplify":
        return _amplified(reading, members, strength)
    features = known_entity(reading) if test.supernode == "known entity" else members_of(reading, members)
    return tuple(_change(one, strength * one.activation) for one in features)


def _amplified(reading: Reading, members: Sequence[Member], strength: float) -> tuple[Change, ...]:
    positions = {role: sorted({one.pos for one in reading.features if one.role == role}) for role in READ_ROLES}
    acts = {(one.layer, one.pos, one.feature_idx): one.activation for one in reading.features}
    return tuple(
        Change(
            layer=member.layer,
            pos=pos,
            feature_idx=member.feature_idx,
            role=member.role,
            before=acts.get((member.layer, pos, member.feature_idx), 0.0),
            after=strength * member.activation,
        )
        for member in members
        for pos in positions[member.role]
    )


def _change(feature: FeatureReading, after: float) -> Change:
    place = feature.layer, feature.pos, feature.feature_idx
    return Change(*place, feature.role, feature.activation, after)


def intervention_of(test: SteeringTest, changes: Sequence[Change], strength: float) -> Intervention:
    """The changes as an intervention that can be written down."""
    features = [one.feature for one in changes]
    if test.operation == "suppress":
        return Intervention.scale(features, strength)
    return Intervention.set(features, [one.after for one in changes])


def feature_pools(readings: Sequence[Reading], members: Sequence[Member]) -> Pools:
    """By role and layer, the features that are active there on some prompt, without the "unknown" supernode's."""
    own = {member.place for member in members}
    places = sorted({one.place for reading in readings for one in reading.features} - own)
    pools: dict[tuple[str, int], list[int]] = {}
    for role, layer, feature_idx in places:
        pools.setdefault((role, layer), []).append(feature_idx)
    return {key: tuple(features) for key, features in pools.items()}


def random_intervention(
    model: ReplacementModel, changes: Sequence[Change], pools: Pools, generator: np.random.Generator
) -> Intervention:
    """For each change, another feature of its layer at its position, changed so that what it writes has equal norm."""
    taken = {(one.layer, one.pos, one.feature_idx) for one in changes}
    features, values = [], []
    for one in changes:
        free = [idx for idx in pools.get((one.role, one.layer), ()) if (one.layer, one.pos, idx) not in taken]
        if not free:
            raise InputError(
                f"expected another active feature at {one.role}, layer {one.layer}, on the split 'choose' to draw a "
                "control from, got none; add prompts"
            )
        drawn = free[int(generator.integers(len(free)))]
        taken.add((one.layer, one.pos, drawn))
        ratio = _written_norm(model, one.layer, one.feature_idx) / _written_norm(model, one.layer, drawn)
        features.append(Feature(one.layer, drawn, one.pos))
        values.append((one.after - one.before) * ratio)
    return Intervention.add(features, values)


def _written_norm(model: ReplacementModel, layer: int, feature_idx: int) -> float:
    """Norm of all that a feature writes per unit of activation, in all layers together."""
    index, last = torch.tensor([feature_idx]), layer + model.transcoder.n_out(layer)
    rows = [model.transcoder.decoder_rows(layer, index, write) for write in range(layer, last)]
    return float(torch.cat(rows, dim=-1).double().norm())
