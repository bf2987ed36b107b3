"""Names of supernodes, taken from what is known of their members and never invented."""

from collections.abc import Sequence

from circuits.graph import Graph
from circuits.pruning import Circuit
from replacement_model.labels import FeatureLabel

__all__ = ["meaning", "name_of"]

MAJORITY = 0.5
N_RAISED = 2


def meaning(label: FeatureLabel | None) -> str | None:
    """What a feature is said to stand for: its concept, or a text that nobody measured; None if no concept fits it."""
    if label is None:
        return None
    return label.concept if label.concept is not None or label.f1 is not None else label.text


def name_of(circuit: Circuit, nodes: Sequence[int]) -> str:
    """The meaning of members with at least half of the influence, or else the tokens that decoders raise most.

    Members count by their influence on the targets, and a member's every top token by the member's. Without any top
    token, the most influential member's own text is the name. Ties go to what comes first.
    """
    graph, influence = circuit.graph, circuit.node_influence
    labels = {node: _label(graph, node) for node in nodes}
    meanings = [(text, float(influence[node])) for node in nodes if (text := meaning(labels[node])) is not None]
    for text, share in _heaviest(meanings)[:1]:
        if share >= MAJORITY * sum(float(influence[node]) for node in nodes):
            return text
    raised = [(token, float(influence[node])) for node, label in labels.items() for token in _top_logits(label)]
    if raised:
        return f"raises {', '.join(token for token, _ in _heaviest(raised)[:N_RAISED])}"
    return str(graph.node_attributes(max(nodes, key=lambda node: influence[node]))["label"])


def _label(graph: Graph, node: int) -> FeatureLabel | None:
    return graph.feature_labels[node] if node < graph.layout.n_features else None


def _top_logits(label: FeatureLabel | None) -> tuple[str, ...]:
    return () if label is None else label.top_logits


def _heaviest(weighted: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """Texts with their summed weights, largest first; ties in order of appearance."""
    sums: dict[str, float] = {}
    for text, weight in weighted:
        sums[text] = sums.get(text, 0.0) + weight
    return sorted(sums.items(), key=lambda item: -item[1])
