"""Supernodes found from measured similarity, with how sure one can be of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from circuits.pruning import Circuit, prune
from circuits.supernodes.agreement import adjusted_rand
from circuits.supernodes.clustering import Clusters, cluster
from circuits.supernodes.evidence import activation_profiles, decoder_directions
from circuits.supernodes.grouping import Group, Grouping
from circuits.supernodes.naming import name_of
from circuits.supernodes.similarity import (
    WEIGHTS,
    combine,
    cosine_similarity,
    incoming_similarity,
    label_similarity,
    outgoing_similarity,
)
from replacement_model import ReplacementModel
from replacement_model.errors import InputError
from replacement_model.prompt import PromptLike

__all__ = ["FoundGroups", "Stability", "find_groups", "kept_features", "measure_similarities"]

THRESHOLD_STEP = 0.05


@dataclass(frozen=True, slots=True)
class Stability:
    """Adjusted Rand index between the groups and those found from something else: 1 the same, 0 chance.

    Attributes:
        without: with one similarity left out, at the same number of groups, by its name.
        threshold: in the circuit pruned at another node threshold, over the features of both, by that threshold.
    """

    without: Mapping[str, float]
    threshold: Mapping[float, float]

    @property
    def mean(self) -> float:
        """Mean over all of them; 1 where there is nothing to compare with."""
        values = [*self.without.values(), *self.threshold.values()]
        return float(np.mean(values)) if values else 1.0


@dataclass(frozen=True, slots=True)
class FoundGroups:
    """What `find_groups` found.

    Attributes:
        grouping: the groups of two and more features; a feature that is alone stands for itself.
        nodes: all features of the circuit.
        clusters: the group of each, the number of groups and its silhouette.
        weights: the similarities that were measured, and their weights.
        n_contexts: contexts over which activations were compared.
        stability: how much the groups hang on single similarities and on the pruning.
    """

    grouping: Grouping
    nodes: Int[np.ndarray, "n"]
    clusters: Clusters
    weights: Mapping[str, float]
    n_contexts: int
    stability: Stability


def find_groups(
    circuit: Circuit,
    model: ReplacementModel | None = None,
    texts: Sequence[PromptLike] = (),
    *,
    n_groups: int | None = None,
    labels: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> FoundGroups:
    """Group the features of a circuit that do alike: see `circuits.supernodes.similarity`.

    Args:
        circuit: what `prune` returned.
        model: the model of the graph, for decoders and activations; without it edges and labels alone are compared.
        texts: a corpus to compare activations over, a few hundred texts or more; needs `model`.
        n_groups: how many groups, those of one feature included; None for the number with the largest mean silhouette.
        labels: whether labels count; they must not where groups are to be judged by them.
        progress: called with (texts done, texts in all).

    Returns:
        The same for the same input, with no random numbers.

    Raises:
        InputError: the circuit has no features, `n_groups` does not fit, or `texts` without a model.

    Example:
        found = find_groups(prune(attribute(model, prompt)), model, texts)
        [(group.label, group.features(graph)) for group in found.grouping]
    """
    near = {value: prune(circuit.graph, value, circuit.edge_threshold) for value in _other_thresholds(circuit)}
    nodes = kept_features(circuit)
    if len(nodes) == 0:
        raise InputError("expected a circuit with features, got none; prune at a higher node threshold")
    union = np.unique(np.concatenate([nodes, *map(kept_features, near.values())]))
    parts, n_contexts = measure_similarities(circuit, union, model, texts, labels=labels, progress=progress)
    weights = {name: WEIGHTS[name] for name in parts}
    own = _part(parts, union, nodes)
    clusters = cluster(combine(own), n_groups)
    groups = [nodes[clusters.assignment == k].tolist() for k in range(clusters.n_groups)]
    named = [Group(name_of(circuit, members), tuple(members)) for members in groups if len(members) > 1]
    others = {value: (kept_features(other), parts, union) for value, other in near.items()}
    stability = Stability(
        {name: _agreement_without(own, name, clusters) for name in own if len(own) > 1},
        {value: _agreement_at(nodes, clusters, *other, n_groups) for value, other in others.items()},
    )
    return FoundGroups(Grouping(tuple(named)), nodes, clusters, weights, n_contexts, stability)


def kept_features(circuit: Circuit) -> Int[np.ndarray, "n"]:
    """The feature nodes of a circuit."""
    return np.flatnonzero(circuit.node_mask[circuit.graph.layout.feature_nodes])


def measure_similarities(
    circuit: Circuit,
    nodes: Int[np.ndarray, "n"],
    model: ReplacementModel | None,
    texts: Sequence[PromptLike],
    *,
    labels: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, Float[np.ndarray, "n n"]], int]:
    """Every similarity that can be measured, by its name, and the number of contexts that activations were read in."""
    graph = circuit.graph
    parts = {"incoming": incoming_similarity(graph, nodes), "outgoing": outgoing_similarity(graph, nodes)}
    n_contexts = 0
    if model is None and texts:
        raise InputError("expected a model to read the texts with, got none; give the graph's model")
    if model is not None:
        parts["decoder"] = cosine_similarity(decoder_directions(model, graph.features[nodes]))
    if model is not None and texts:
        profiles = activation_profiles(model, texts, graph.features[nodes], progress)
        parts["activation"], n_contexts = cosine_similarity(profiles), profiles.shape[1]
    if labels and any(graph.feature_labels[node] is not None for node in nodes.tolist()):
        parts["labels"] = label_similarity([graph.feature_labels[node] for node in nodes.tolist()])
    return parts, n_contexts


def _other_thresholds(circuit: Circuit) -> tuple[float, ...]:
    moved = (round(circuit.node_threshold + step, 6) for step in (-THRESHOLD_STEP, THRESHOLD_STEP))
    return tuple(value for value in moved if 0 < value <= 1)


def _part(
    parts: Mapping[str, Float[np.ndarray, "m m"]], all_nodes: Int[np.ndarray, "m"], nodes: Int[np.ndarray, "n"]
) -> dict[str, Float[np.ndarray, "n n"]]:
    chosen = np.searchsorted(all_nodes, nodes)
    return {name: matrix[np.ix_(chosen, chosen)] for name, matrix in parts.items()}


def _agreement_without(own: Mapping[str, Float[np.ndarray, "n n"]], name: str, clusters: Clusters) -> float:
    rest = {other: matrix for other, matrix in own.items() if other != name}
    return adjusted_rand(clusters.assignment, cluster(combine(rest), clusters.n_groups).assignment)


def _agreement_at(
    nodes: Int[np.ndarray, "n"],
    clusters: Clusters,
    other_nodes: Int[np.ndarray, "k"],
    parts: Mapping[str, Float[np.ndarray, "m m"]],
    union: Int[np.ndarray, "m"],
    n_groups: int | None,
) -> float:
    count = None if n_groups is None else min(n_groups, len(other_nodes))
    there = cluster(combine(_part(parts, union, other_nodes)), count)
    _, here, at_other = np.intersect1d(nodes, other_nodes, return_indices=True)
    return adjusted_rand(clusters.assignment[here], there.assignment[at_other])
