"""Is what the graph calls influential what the model needs? Each feature ablated alone, the model otherwise free."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from circuits.faithfulness.measuring import ablations, target_change
from circuits.faithfulness.prediction import direct_edges, influence_on, main_target, total_effects_on
from circuits.faithfulness.rank import spearman
from circuits.graph import Graph
from replacement_model.interventions import Conditions, Observation
from replacement_model.interventions.many import effects_of_many

__all__ = ["PREDICTORS", "AblationCheck", "check_ablation"]

PREDICTORS = ("influence", "activation", "direct edge", "total effect")
"""Influence; the two baselines; and what the graph predicts with signs, along all paths."""


@dataclass(frozen=True, slots=True, eq=False)
class AblationCheck:
    """What ablating each feature does to the target, and what the graph says of it.

    Attributes:
        target: label of the target.
        n_active: features that are active on the prompt and traced.
        features: (layer, pos, feature_idx) of those that were ablated.
        effects: change of the target's logit minus the mean logit (of the difference of two logits).
        predictions: by `PREDICTORS`; abs() of edges and total effects.
        signed_total: the total effects; what ablation takes away.
        spearman: rank correlation of abs(effects) with each prediction.
        spearman_last: the same over the features at the target's position alone.
    """

    target: str
    n_active: int
    features: Int[np.ndarray, "n 3"]
    effects: Float[np.ndarray, "n"]
    predictions: Mapping[str, Float[np.ndarray, "n"]]
    signed_total: Float[np.ndarray, "n"]
    spearman: Mapping[str, float]
    spearman_last: Mapping[str, float]


def check_ablation(
    observed: Observation,
    graph: Graph,
    *,
    at_most: int | None = None,
    generator: np.random.Generator | None = None,
    conditions: Conditions | None = None,
) -> AblationCheck:
    """Ablate every feature of the graph, each alone, and compare the target's change with what the graph says.

    Args:
        observed: the model on the graph's prompt.
        graph: unpruned.
        at_most: ablate no more features than these; where there are more, they are drawn by `generator`.
        generator: needed with `at_most`.
        conditions: how the model responds; None for free.

    Raises:
        InputError: the main target is no logit.
    """
    n_features, index = graph.layout.n_features, main_target(graph)
    nodes = np.arange(n_features)
    if at_most is not None and generator is not None and n_features > at_most:
        nodes = np.sort(generator.choice(n_features, at_most, replace=False))
    target, logits = graph.targets[index], observed.capture.logits
    held = Conditions() if conditions is None else conditions
    many = effects_of_many(observed, ablations(graph, nodes), held, against_unedited=True)
    changes = [target_change(observed, target, effect.logits - logits).cpu().numpy() for effect in many]
    effects = np.concatenate([np.empty(0), *changes])
    total = total_effects_on(graph, index)[nodes]
    predictions = {
        "influence": influence_on(graph, index)[nodes],
        "activation": graph.feature_acts.astype(np.float64)[nodes],
        "direct edge": np.abs(direct_edges(graph, index))[nodes],
        "total effect": np.abs(total),
    }
    everywhere = np.ones(len(nodes), dtype=bool)
    return AblationCheck(
        target=target.label,
        n_active=sum(len(acts.pos) for acts in observed.acts.values()),
        features=graph.features[nodes],
        effects=effects,
        predictions=predictions,
        signed_total=total,
        spearman=_correlations(predictions, effects, everywhere),
        spearman_last=_correlations(predictions, effects, graph.features[nodes, 1] == target.pos),
    )


def _correlations(
    predictions: Mapping[str, Float[np.ndarray, "n"]], effects: Float[np.ndarray, "n"], where: Bool[np.ndarray, "n"]
) -> dict[str, float]:
    return {name: spearman(values[where], np.abs(effects[where])) for name, values in predictions.items()}
