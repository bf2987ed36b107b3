from dataclasses import replace

import numpy as np

from circuits.pruning import prune
from circuits.supernodes.naming import name_of
from replacement_model.labels import FeatureLabel


def with_labels(make_random_graph, *labels: FeatureLabel | None):
    graph = make_random_graph(2)
    rest = [None] * (len(graph.features) - len(labels))
    circuit = prune(replace(graph, feature_labels=(*labels, *rest)), 1.0, 1.0)
    influence = np.zeros_like(circuit.node_influence)
    influence[:4] = [4.0, 3.0, 2.0, 1.0]
    return replace(circuit, node_influence=influence)


def unmatched(*top: str) -> FeatureLabel:
    return FeatureLabel("no match", None, 0.1, top_logits=top)


TEXAS = FeatureLabel("state: Texas", "state: Texas", 0.9, top_logits=("Austin",))


def test_the_meaning_with_half_of_the_influence(make_random_graph) -> None:
    circuit = with_labels(make_random_graph, unmatched("Ohio"), TEXAS, TEXAS)
    assert name_of(circuit, [0, 1, 2]) == "state: Texas"
    assert name_of(circuit, [0, 1]) == "raises Ohio, Austin"


def test_tokens_that_several_members_raise_come_first(make_random_graph) -> None:
    circuit = with_labels(make_random_graph, unmatched("a", "b"), unmatched("c", "d"), unmatched("d", "c"))
    assert name_of(circuit, [0, 1, 2]) == "raises c, d"


def test_without_any_label_the_name_is_that_of_the_most_influential_member(make_random_graph) -> None:
    circuit = with_labels(make_random_graph)
    layer, _, idx = circuit.graph.features[1].tolist()
    assert name_of(circuit, [3, 1, 2]) == f"L{layer} #{idx}"


def test_errors_and_tokens_have_names_too(make_random_graph) -> None:
    circuit = with_labels(make_random_graph)
    assert name_of(circuit, [circuit.graph.layout.error_node(2, 0)]) == "error L2"
    assert name_of(circuit, [circuit.graph.layout.token_node(1)]) == "token 1"
