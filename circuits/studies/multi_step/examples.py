"""Examples to look at: swaps that can be run again, and graphs with the found supernodes marked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from circuits.graph import Graph
from circuits.studies.multi_step.finding import Evidence
from circuits.studies.multi_step.results import ExperimentResult
from circuits.studies.multi_step.scoring import AS_USED
from circuits.studies.multi_step.swaps import Choice, swap_interventions
from circuits.studies.multi_step.table import Case, Table, position_of
from replacement_model import ReplacementModel, observe
from replacement_model.interventions import measured_case
from replacement_model.interventions.specification import Case as SpecifiedCase

__all__ = ["Example", "ShownSwap", "marked_supernodes", "show_swaps"]


@dataclass(frozen=True, slots=True)
class ShownSwap:
    """A swap of one prompt.

    Attributes:
        transcoder, experiment, hop, prompt: which.
        source, target: the values.
        wanted: the answer that the swap should give.
        before, after: the most probable token and its probability.
    """

    transcoder: str
    experiment: str
    hop: str
    prompt: str
    source: str
    target: str
    wanted: str
    before: tuple[str, float]
    after: tuple[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return values | {"before": list(self.before), "after": list(self.after)}


@dataclass(frozen=True, slots=True)
class Example:
    """A graph of a prompt, and where the found supernodes are in it.

    Attributes:
        graph: the file's name, below the study's folder.
        supernodes: (label, its features as (layer, pos, feature_idx)), of features that the graph has.
    """

    transcoder: str
    table: str
    prompt: str
    answer: str
    graph: str
    supernodes: tuple[tuple[str, tuple[tuple[int, int, int], ...]], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return values | {"supernodes": [[label, [list(one) for one in nodes]] for label, nodes in self.supernodes]}


def show_swaps(
    model: ReplacementModel, table: Table, result: ExperimentResult, evidence: Evidence, count: int
) -> list[tuple[ShownSwap, SpecifiedCase]]:
    """The first swap of some scored prompts, as it was chosen for the claimed hop; whether it succeeds or not."""
    experiment, hop = result.experiment, result.claimed_hop
    choice = result.chosen(hop)
    found = []
    for case in table.examples(experiment.factor, count):
        observed = observe(model, case.prompt)
        swap, source = case.swaps_of(experiment.factor)[0], case.factors[experiment.factor]
        positions = {place: position_of(case.at(place), observed.prompt.tokens) for place in choice.places}
        edits = swap_interventions(evidence, choice, positions, source, swap.to)
        name = f"{experiment.name}: {source} for {swap.to}, {case.prompt}"
        made = measured_case(model, name, case.prompt, edits, AS_USED, observed=observed)
        shown = ShownSwap(
            transcoder=result.transcoder,
            experiment=experiment.name,
            hop=hop,
            prompt=case.prompt,
            source=source,
            target=swap.to,
            wanted=swap.answer,
            before=made.expected.before[0],
            after=made.expected.after[0],
        )
        found.append((shown, made))
    return found


def marked_supernodes(
    graph: Graph, case: Case, results: Sequence[ExperimentResult], evidence: Mapping[str, Evidence]
) -> tuple[tuple[str, tuple[tuple[int, int, int], ...]], ...]:
    """The supernodes of what a case states, at each single place; a feature of two belongs to the first."""
    there = {(layer, pos, idx) for layer, pos, idx in graph.features.tolist()}
    found: list[tuple[str, tuple[tuple[int, int, int], ...]]] = []
    for result in results:
        factor = result.experiment.factor
        for hop, places in result.experiment.hops.items():
            if len(places) > 1 or factor not in case.factors:
                continue
            choice: Choice = result.chosen(hop)
            pos = position_of(case.at(places[0]), graph.tokens)
            members = evidence[factor].members(places[0], case.factors[factor], choice.n_features)
            nodes = tuple(node for one in members if (node := (one.layer, pos, one.feature_idx)) in there)
            if nodes:
                found.append((f"{case.factors[factor]} ({hop})", nodes))
                there -= set(nodes)
    return tuple(found)
