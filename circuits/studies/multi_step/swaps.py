"""Swapping one value's supernode for another's, and controls that write as much with other features.

Taken away: the features of the source's supernode are multiplied. Brought in: those of the target's are set to a
multiple of their mean activation over the prompts they were found on. A feature of both is set.

A control changes as many features, at the same positions and layers, and writes as much: each feature that the swap
lowers has a random active one in its place, each that it raises a random one that is active there on some prompt; they
are changed by the same amounts, all times the factor that makes the norm of what is written, over all layers, the same
at each position. None of them is of either supernode.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from circuits.studies.multi_step.finding import Evidence, Key, Member
from replacement_model import Feature, InputError, Intervention, Supernode
from replacement_model.interventions import Observation
from replacement_model.transcoder import ActiveFeatures

__all__ = ["Choice", "patch", "random_control", "swap_interventions"]

Positions = Mapping[str, int]
"""Place -> position in the prompt."""


@dataclass(frozen=True, slots=True)
class Choice:
    """How supernodes are swapped.

    Attributes:
        places: where.
        method: `graph` or `activation`: what features are ranked by.
        n_features: size of a supernode at each place.
        source_factor: what the source's activations are multiplied by.
        target_factor: multiple of their mean activation that the target's are set to.
    """

    places: tuple[str, ...]
    method: str
    n_features: int
    source_factor: float
    target_factor: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {name: getattr(self, name) for name in self.__slots__} | {"places": list(self.places)}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> "Choice":
        """What `to_dict` gave."""
        return cls(**{**given, "places": tuple(given["places"])})


def swap_interventions(
    evidence: Evidence, choice: Choice, positions: Positions, source: str | None, target: str | None
) -> tuple[Intervention, ...]:
    """The swap of `source` for `target` in a prompt.

    Args:
        evidence: what the supernodes are.
        choice: how it is done.
        positions: of the choice's places in the prompt.
        source: the value that is taken away; None to take nothing.
        target: the value that is brought in; None to bring nothing.

    Raises:
        InputError: both supernodes are empty.
    """
    found: list[Intervention] = []
    for place in choice.places:
        leaving, coming = (_members(evidence, choice, place, value) for value in (source, target))
        if leaving:
            node = _supernode(f"{source} at {place}", leaving, positions[place], 1.0)
            found.append(Intervention.scale(node, choice.source_factor))
        if coming:
            node = _supernode(f"{target} at {place}", coming, positions[place], choice.target_factor)
            found.append(Intervention.set(node, node.acts or ()))
    if not found:
        raise InputError(f"neither {source} nor {target} has features at {', '.join(choice.places)}; give other places")
    return tuple(found)


def random_control(
    observed: Observation,
    evidence: Evidence,
    choice: Choice,
    positions: Positions,
    source: str | None,
    target: str | None,
    generator: np.random.Generator,
) -> tuple[Intervention, ...]:
    """A control of `swap_interventions` with the same arguments, on an observed prompt."""
    found: list[Intervention] = []
    for place in choice.places:
        pos = positions[place]
        now = _active_at(observed, pos)
        changes = _changes(evidence, choice, place, source, target, now)
        if not changes:
            continue
        taken = {one.key for value in (source, target) for one in _members(evidence, choice, place, value)}
        others = [key for key in evidence.alive[place] if key not in taken]
        drawn = _drawn(changes, {key: act for key, act in now.items() if key not in taken}, others, generator)
        norms = _written_norms(observed, (changes, drawn))
        factor = norms[0] / norms[1] if norms[1] > 0 else 0.0
        features = [Feature(layer, idx, pos) for layer, idx in drawn]
        if features:
            found.append(
                Intervention.add(
                    Supernode(f"random at {place}", tuple(features)), [change * factor for change in drawn.values()]
                )
            )
    if found:
        return tuple(found)
    swapped = swap_interventions(evidence, choice, positions, source, target)  # which changes nothing on this prompt
    return (Intervention.add(swapped[0].features, 0.0),)


def patch(observed: Observation, other: Observation, places: Sequence[str], positions: Positions) -> Intervention:
    """All features at some places set to what they are on another prompt: how much these carry by themselves.

    Raises:
        InputError: the prompts differ in length.
    """
    if observed.n_pos != other.n_pos:
        text, expected = other.prompt.text, observed.n_pos
        raise InputError(f"expected a prompt of {expected} tokens to take features from, got {other.n_pos}: {text!r}")
    wanted: dict[Feature, float] = {}
    for pos in dict.fromkeys(positions[place] for place in places):
        there = _active_at(other, pos)
        keys = sorted({*_active_at(observed, pos), *there})
        wanted |= {Feature(layer, idx, pos): there.get((layer, idx), 0.0) for layer, idx in keys}
    return Intervention.set(tuple(wanted), tuple(wanted.values()))


def _members(evidence: Evidence, choice: Choice, place: str, value: str | None) -> tuple[Member, ...]:
    return () if value is None else evidence.members(place, value, choice.n_features, choice.method)


def _supernode(name: str, members: Sequence[Member], pos: int, factor: float) -> Supernode:
    features = tuple(Feature(one.layer, one.feature_idx, pos) for one in members)
    return Supernode(name, features, tuple(one.act * factor for one in members))


def _active_at(observed: Observation, pos: int) -> dict[Key, float]:
    """The features that are active at a position of the prompt as it is."""
    found: dict[Key, float] = {}
    for layer, active in observed.acts.items():
        here = active.pos == pos
        for idx, act in zip(active.feature_idx[here].tolist(), active.acts[here].tolist(), strict=True):
            found[layer, idx] = act
    return found


def _changes(
    evidence: Evidence, choice: Choice, place: str, source: str | None, target: str | None, now: Mapping[Key, float]
) -> dict[Key, float]:
    """By how much the swap changes the features of a place, on the prompt as it is."""
    leaving, coming = (_members(evidence, choice, place, value) for value in (source, target))
    wanted = {one.key: choice.source_factor * now.get(one.key, 0.0) for one in leaving}
    wanted |= {one.key: choice.target_factor * one.act for one in coming}
    return {key: act - now.get(key, 0.0) for key, act in wanted.items() if act != now.get(key, 0.0)}


def _drawn(
    changes: Mapping[Key, float], now: Mapping[Key, float], alive: Sequence[Key], generator: np.random.Generator
) -> dict[Key, float]:
    """As many changes of other features, layer by layer; fewer where there are not as many others."""
    found: dict[Key, float] = {}
    for layer, lowers in _parts(changes):
        amounts = [change for key, change in changes.items() if key[0] == layer and (change < 0) == lowers]
        others = sorted(now) if lowers else alive
        pool = [key for key in others if key[0] == layer and key not in found]
        if len(pool) < len(amounts):
            pool += [key for key in alive if key[0] == layer and key not in {*found, *pool}]
        chosen = generator.permutation(len(pool))[: len(amounts)].tolist()
        found |= {pool[k]: amount for k, amount in zip(chosen, amounts, strict=False)}
    return found


def _parts(changes: Mapping[Key, float]) -> Iterator[tuple[int, bool]]:
    for layer in sorted({layer for layer, _ in changes}):
        for lowers in (True, False):
            if any(key[0] == layer and (change < 0) == lowers for key, change in changes.items()):
                yield layer, lowers


def _written_norms(observed: Observation, sets: Sequence[Mapping[Key, float]]) -> list[float]:
    """Norm, over all layers, of what each set of changes writes."""
    transcoder, acts = observed.model.transcoder, {}
    b_dec = transcoder.b_dec
    for layer in sorted({key[0] for changes in sets for key in changes}):
        rows = [(row, key[1], change) for row, one in enumerate(sets) for key, change in one.items() if key[0] == layer]
        pos, idx = torch.tensor([row[:2] for row in rows], device=b_dec.device).T
        acts[layer] = ActiveFeatures(pos, idx, b_dec.new_tensor([row[2] for row in rows]))
    squares = [transcoder.written(acts, layer, len(sets)).square().sum(-1) for layer in range(transcoder.n_layers)]
    return torch.stack(squares).sum(0).sqrt().tolist()
