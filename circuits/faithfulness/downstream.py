"""What a graph predicts of later features and of the target, against the model with nothing but attention held."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from circuits.faithfulness.measuring import ablation_changes
from circuits.faithfulness.prediction import effects_of, main_target
from circuits.faithfulness.rank import cosine, mean_of, spearman
from circuits.faithfulness.selection import Chosen
from circuits.graph import Graph
from replacement_model.interventions import Conditions, Observation
from replacement_model.interventions.conditions import Mode

__all__ = ["DownstreamRow", "check_downstream"]

MODES: tuple[Mode, ...] = ("iterative", "free")
AT_LEAST = 3


@dataclass(frozen=True, slots=True)
class DownstreamRow:
    """Effects at one distance.

    Attributes:
        mode: `iterative`: features are computed again, the rest is held; `free`: the model's own MLPs and norms.
        chosen: `graph` for influential features, `chance` for the control.
        distance: layers from the ablated feature to those that change; None for the target's logit.
        n: ablated features with effects to compare.
        n_effects: changes that were compared.
        spearman, cosine: of predicted and measured changes: the mean over the ablated features; for the target over
            all of them at once. NaN where there is nothing to compare.
    """

    mode: str
    chosen: str
    distance: int | None
    n: int
    n_effects: int
    spearman: float
    cosine: float


def check_downstream(observed: Observation, graph: Graph, chosen: Chosen) -> tuple[DownstreamRow, ...]:
    """Ablate the chosen features and compare all later rows with the effects along all paths of the graph."""
    rows: list[DownstreamRow] = []
    for mode in MODES:
        for name, nodes in chosen.groups():
            measured = ablation_changes(observed, graph, nodes, Conditions(mode))
            rows += _by_distance(graph, nodes, effects_of(graph, nodes), measured, mode, name)
    return tuple(rows)


def _by_distance(
    graph: Graph,
    nodes: Int[np.ndarray, "n"],
    predicted: Float[np.ndarray, "n n_rows"],
    measured: Float[np.ndarray, "n n_rows"],
    mode: str,
    name: str,
) -> list[DownstreamRow]:
    features, n_features = graph.features, graph.layout.n_features
    found = []
    for distance in range(1, graph.n_layers):
        pairs = []
        for index, node in enumerate(nodes):
            layer, pos, _ = features[node]
            later = np.flatnonzero((features[:, 0] == layer + distance) & (features[:, 1] >= pos))
            if len(later) >= AT_LEAST:
                pairs.append((predicted[index, later], measured[index, later]))
        found.append(_row(mode, name, distance, pairs))
    target = n_features + main_target(graph)
    at_target = (predicted[:, target], measured[:, target])
    whole = [at_target] if len(nodes) >= AT_LEAST and np.isfinite(at_target[1]).all() else []
    row = _row(mode, name, None, whole)
    return [
        *found,
        DownstreamRow(mode, name, None, len(nodes) if whole else 0, row.n_effects, row.spearman, row.cosine),
    ]


def _row(
    mode: str,
    name: str,
    distance: int | None,
    pairs: Sequence[tuple[Float[np.ndarray, "_"], Float[np.ndarray, "_"]]],
) -> DownstreamRow:
    return DownstreamRow(
        mode=mode,
        chosen=name,
        distance=distance,
        n=len(pairs),
        n_effects=sum(len(said) for said, _ in pairs),
        spearman=mean_of([spearman(*pair) for pair in pairs]),
        cosine=mean_of([cosine(*pair) for pair in pairs]),
    )
