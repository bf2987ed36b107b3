"""Finding supernodes: which features carry a factor's value from the word that states it to the answer.

Every case of the split `find` is traced to its answer. A feature counts by its influence on the answer in that graph,
so one that is active but leads nowhere counts for nothing. What is averaged over the cases of a value (Texas: the
graphs of several cities), less the average over all values, is what the feature does for this value in particular. For
comparison the same is done with activations in place of influence.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from circuits.attribution import attribute
from circuits.graph import Graph
from circuits.influence import node_influence
from circuits.studies.multi_step.table import Case, Experiment, Table, position_of
from replacement_model import InputError, ReplacementModel

__all__ = ["METHODS", "Evidence", "Member", "find_features", "trace_case"]

METHODS = ("graph", "activation")
MAX_MEMBERS = 32

Key = tuple[int, int]
"""(layer, feature_idx)"""


@dataclass(frozen=True, slots=True)
class Member:
    """A feature of a supernode: how much more it counts for this value than on average, and its mean activation."""

    layer: int
    feature_idx: int
    score: float
    act: float

    @property
    def key(self) -> Key:
        return self.layer, self.feature_idx


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was found for one factor.

    Attributes:
        ranked: [place][method][value] -> features, best first.
        alive: [place] -> every feature that was active there.
        n_graphs: cases that were traced.
    """

    ranked: Mapping[str, Mapping[str, Mapping[str, tuple[Member, ...]]]]
    alive: Mapping[str, tuple[Key, ...]]
    n_graphs: int

    def members(self, place: str, value: str, n_features: int, method: str = "graph") -> tuple[Member, ...]:
        """The supernode of a value at a place."""
        return self.ranked[place][method][value][:n_features]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        ranked = {
            place: {
                method: {
                    value: [[one.layer, one.feature_idx, one.score, one.act] for one in members]
                    for value, members in values.items()
                }
                for method, values in methods.items()
            }
            for place, methods in self.ranked.items()
        }
        alive = {place: [list(key) for key in keys] for place, keys in self.alive.items()}
        return {"ranked": ranked, "alive": alive, "n_graphs": self.n_graphs}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> "Evidence":
        """What `to_dict` gave."""
        ranked = {
            place: {
                method: {value: tuple(Member(*one) for one in members) for value, members in values.items()}
                for method, values in methods.items()
            }
            for place, methods in given["ranked"].items()
        }
        alive = {place: tuple((layer, idx) for layer, idx in keys) for place, keys in given["alive"].items()}
        return cls(ranked, alive, given["n_graphs"])


def find_features(
    model: ReplacementModel,
    table: Table,
    experiments: Sequence[Experiment],
    *,
    max_feature_nodes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Evidence]:
    """Evidence for the factor of each experiment, by factor; every graph is traced once.

    Raises:
        InputError: the model answers no case of some value as the table says.
    """
    factors = {one.factor: one.places for one in experiments}
    cases = [case for case in table.cases if case.split == "find" and factors.keys() & case.factors.keys()]
    tallies = {factor: {place: _Tally() for place in places} for factor, places in factors.items()}
    n_graphs = dict.fromkeys(factors, 0)
    for number, case in enumerate(cases, 1):
        graph = trace_case(model, case, max_feature_nodes=max_feature_nodes)
        if graph is not None:
            influence = node_influence(graph.adjacency, np.ones(1))[: len(graph.features)]
            for factor in factors.keys() & case.factors.keys():
                n_graphs[factor] += 1
                for place, tally in tallies[factor].items():
                    tally.add(graph, influence, position_of(case.at(place), graph.tokens), case.factors[factor])
        if progress is not None:
            progress(number, len(cases))
    return {factor: _evidence(table, factor, tallies[factor], n_graphs[factor]) for factor in factors}


def trace_case(model: ReplacementModel, case: Case, *, max_feature_nodes: int | None = None) -> Graph | None:
    """The graph of a case, to its answer; None where the model answers something else."""
    prompt = model.read_prompt(case.prompt)
    answer = model.token_id(case.answer)
    if int(model.capture(prompt, keep_patterns=False).logits[-1].argmax()) != answer:
        return None
    return attribute(model, prompt, [answer], max_feature_nodes=max_feature_nodes)


@dataclass(frozen=True, slots=True)
class _Tally:
    """Sums over the graphs of each value, of every feature at one place: influence and activation."""

    counts: dict[str, int] = field(default_factory=dict)
    sums: dict[Key, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, graph: Graph, influence: Float[np.ndarray, "n"], pos: int, value: str) -> None:
        self.counts[value] = self.counts.get(value, 0) + 1
        here = np.flatnonzero(graph.features[:, 1] == pos)
        acts = graph.feature_acts[here].tolist()
        for (layer, _, idx), flow, act in zip(
            graph.features[here].tolist(), influence[here].tolist(), acts, strict=True
        ):
            total = self.sums.setdefault((layer, idx), {}).setdefault(value, [0.0, 0.0])
            total[0] += flow
            total[1] += act

    def ranked(self) -> dict[str, dict[str, tuple[Member, ...]]]:
        keys, values = sorted(self.sums), sorted(self.counts)
        means = np.zeros((2, len(values), len(keys)))
        for column, key in enumerate(keys):
            for row, value in enumerate(values):
                means[:, row, column] = self.sums[key].get(value, (0.0, 0.0))
        means /= np.array([self.counts[value] for value in values])[None, :, None]
        excess = means - means.mean(1, keepdims=True)
        return {
            method: {value: _best(keys, excess[kind, row], means[1, row]) for row, value in enumerate(values)}
            for kind, method in enumerate(METHODS)
        }


def _best(keys: Sequence[Key], scores: Float[np.ndarray, "n"], acts: Float[np.ndarray, "n"]) -> tuple[Member, ...]:
    order = np.argsort(-scores, kind="stable")[:MAX_MEMBERS].tolist()
    return tuple(Member(keys[k][0], keys[k][1], float(scores[k]), float(acts[k])) for k in order if scores[k] > 0)


def _evidence(table: Table, factor: str, tallies: Mapping[str, _Tally], n_graphs: int) -> Evidence:
    wanted = {case.factors[factor] for case in table.select("find", factor)}
    for tally in tallies.values():
        if lacking := sorted(wanted - tally.counts.keys()):
            raise InputError(f"the model answers no prompt to find {factor} {lacking[0]} on rightly; give others")
    ranked = {place: tally.ranked() for place, tally in tallies.items()}
    return Evidence(ranked, {place: tuple(sorted(tally.sums)) for place, tally in tallies.items()}, n_graphs)
