"""What the graphs of scored prompts say: whether the supernodes are there, what feeds them, and what they feed.

Nothing is changed here. In the graph of a prompt that nothing was chosen on, the supernode of every value has some
influence on the answer. The value whose supernode has the most is read off the graph, and compared with what the prompt
states. For the supernode of the stated value: which share of its input comes, along all paths, from the token that
states it; and which share of the answer's input comes straight from it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int
from scipy.sparse.linalg import spsolve_triangular

from circuits.graph import Graph
from circuits.influence import MIN_ROW_SUM, node_influence
from circuits.studies.multi_step.finding import Evidence, trace_case
from circuits.studies.multi_step.swaps import Choice
from circuits.studies.multi_step.table import LAST, Case, Experiment, position_of
from replacement_model import ReplacementModel

__all__ = ["Reading", "read_graph", "read_graphs", "token_share"]


@dataclass(frozen=True, slots=True)
class Reading:
    """One hop of one graph.

    Attributes:
        experiment, hop: whose supernodes.
        cluster, group: of the case.
        right: the value with the most influence is the one that the prompt states.
        influence: of the stated value's supernode on the answer, as a share of that of all features at its places.
        from_token: share of its input that comes from the tokens of the hop's places that state something.
        to_answer: share of the answer's input that comes straight from it.
    """

    experiment: str
    hop: str
    cluster: str
    group: str
    right: bool
    influence: float
    from_token: float
    to_answer: float

    def to_list(self) -> list[Any]:
        """Plain values for JSON, in the order of the attributes."""
        return [getattr(self, name) for name in self.__slots__]


def read_graphs(
    model: ReplacementModel,
    cases: Sequence[Case],
    experiments: Sequence[Experiment],
    evidence: Mapping[str, Evidence],
    choices: Mapping[tuple[str, str], Choice],
    *,
    max_feature_nodes: int | None = None,
    save: Callable[[Experiment, Case, Graph], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Reading]:
    """Read the graphs of all cases that the model answers rightly.

    Args:
        model: the replacement model.
        cases: of the split `score`.
        experiments: read for each case that swaps their factor.
        evidence: by factor.
        choices: by the names of experiment and hop; how large the supernodes are.
        max_feature_nodes: as for `attribute`.
        save: called with each graph of an experiment that saves them.
        progress: called with (cases done, cases in all).
    """
    found: list[Reading] = []
    for number, case in enumerate(cases, 1):
        asked = [one for one in experiments if case.swaps_of(one.factor)]
        graph = trace_case(model, case, max_feature_nodes=max_feature_nodes) if asked else None
        if graph is not None:
            for one in asked:
                hops = {hop: choices[one.name, hop] for hop in one.hops}
                found += read_graph(graph, case, one, evidence[one.factor], hops)
                if save is not None and one.saves_graphs:
                    save(one, case, graph)
        if progress is not None:
            progress(number, len(cases))
    return found


def read_graph(
    graph: Graph, case: Case, experiment: Experiment, evidence: Evidence, choices: Mapping[str, Choice]
) -> list[Reading]:
    """One reading for each hop."""
    influence = node_influence(graph.adjacency, np.ones(1))[: len(graph.features)]
    positions = {place: position_of(case.at(place), graph.tokens) for place in experiment.places}
    stated = [positions[place] for place in experiment.places if place != LAST] or [positions[LAST]]
    shares = token_share(graph, stated)
    row = graph.adjacency[[graph.layout.target_rows.start]].toarray()[0]
    node = {(layer, pos, idx): k for k, (layer, pos, idx) in enumerate(graph.features.tolist())}
    value = case.factors[experiment.factor]
    found = []
    for hop, choice in choices.items():
        nodes = {
            each: [
                node[one.layer, positions[place], one.feature_idx]
                for place in choice.places
                for one in evidence.members(place, each, choice.n_features, choice.method)
                if (one.layer, positions[place], one.feature_idx) in node
            ]
            for each in evidence.ranked[choice.places[0]][choice.method]
        }
        flows = {each: float(influence[members].sum()) for each, members in nodes.items()}
        own = nodes[value]
        here = np.isin(graph.features[:, 1], [positions[place] for place in choice.places])
        whole = float(influence[here].sum())
        weights = influence[own] / max(flows[value], MIN_ROW_SUM)
        found.append(
            Reading(
                experiment.name,
                hop,
                case.cluster,
                case.group,
                bool(own) and max(flows, key=lambda each: flows[each]) == value,
                round(flows[value] / whole if whole > 0 else 0.0, 6),
                round(float(weights @ shares[own]), 6),
                round(float(np.abs(row[own]).sum() / max(float(np.abs(row).sum()), MIN_ROW_SUM)), 6),
            )
        )
    return found


def token_share(graph: Graph, positions: Sequence[int]) -> Float[np.ndarray, "n_features"]:
    """For each feature, the share of its input that comes from the tokens at some positions, along all paths.

    Edges count by their absolute value, as in influence; what enters as an error comes from no token.
    """
    n = len(graph.features)
    rows = sp.csr_array(np.abs(graph.adjacency[:n]).astype(np.float64))
    sums = np.maximum(np.asarray(rows.sum(axis=1)).ravel(), MIN_ROW_SUM)
    shares = sp.csr_array(sp.diags_array(1.0 / sums) @ rows)
    columns: Int[np.ndarray, "k"] = np.array([graph.layout.token_node(pos) for pos in positions])
    direct = np.asarray(shares[:, columns].sum(axis=1)).ravel()
    below = sp.csr_array(sp.eye_array(n, format="csr") - shares[:, :n])
    return np.asarray(spsolve_triangular(below, direct, lower=True, unit_diagonal=True))
