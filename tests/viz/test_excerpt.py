import numpy as np
import pytest

from circuits.edge_influence import edge_influence
from circuits.pruning import prune
from viz.excerpt import excerpt


def drawn_flow(circuit, part):
    return sum(edge.influence for edge in part.edges) * circuit.graph.target_weights.sum()


def test_an_edge_influence_is_a_share_of_all_targets(other_targets):
    # Three targets of weight 1: the edges into them carry the whole influence, once.
    part = excerpt(other_targets, 1000, 10_000)
    into_targets = [edge.influence for edge in part.edges if edge.target >= other_targets.graph.layout.n_cols]
    assert sum(into_targets) == pytest.approx(1)


def test_a_small_circuit_is_drawn_whole(texas):
    part = excerpt(texas, 100, 10_000)
    assert set(part.nodes) == set(np.flatnonzero(texas.node_mask).tolist())
    assert len(part.edges) == texas.edges.nnz
    assert part.node_share == pytest.approx(1)
    assert part.edge_share == pytest.approx(1)


def test_what_is_left_out_is_counted(make_random):
    circuit = prune(make_random(200), 1.0, 1.0)
    layout = circuit.graph.layout
    part = excerpt(circuit, 20, 40)
    inner = [node for node in part.nodes if node < layout.token_nodes.start]
    assert part.n_drawn == len(inner) == 20
    assert part.n_circuit == circuit.node_mask[: layout.token_nodes.start].sum()
    whole = circuit.node_influence[: layout.token_nodes.start].sum()
    assert part.node_share == pytest.approx(circuit.node_influence[inner].sum() / whole)
    assert part.n_circuit_edges == circuit.edges.nnz
    assert part.edge_share == pytest.approx(drawn_flow(circuit, part) / edge_influence(circuit).sum())
    assert 0 < part.edge_share < part.node_share < 1


def test_the_most_influential_are_drawn(make_random):
    circuit = prune(make_random(200), 1.0, 1.0)
    part = excerpt(circuit, 20, 40)
    layout = circuit.graph.layout
    drawn = sum(circuit.node_influence[node] for node in part.nodes if node < layout.token_nodes.start)
    best = np.sort(circuit.node_influence[: layout.token_nodes.start])[-20:].sum()
    assert drawn >= 0.97 * best  # not exactly the best: each must lead somewhere


@pytest.mark.parametrize("seed", range(5))
def test_every_drawn_feature_has_a_way_in_and_out(make_random, seed):
    circuit = prune(make_random(120, seed=seed), 0.9)
    part = excerpt(circuit, 15, 1)
    n_features = circuit.graph.layout.n_features
    features = {node for node in part.nodes if node < n_features}
    assert features <= {edge.source for edge in part.edges}
    assert features <= {edge.target for edge in part.edges}
    nodes = set(part.nodes)
    assert all(edge.source in nodes and edge.target in nodes for edge in part.edges)


def test_strong_edges_come_last_and_at_full_strength(texas):
    part = excerpt(texas, 30, None)
    influences = [edge.influence for edge in part.edges]
    assert influences == sorted(influences)
    assert part.edges[-1].strength == 1.0


def test_all_tokens_of_a_short_prompt_and_few_of_a_long_one(texas, make_random):
    layout = texas.graph.layout
    assert set(range(layout.token_nodes.start, layout.token_nodes.stop)) <= set(excerpt(texas, 30, None).nodes)
    long = prune(make_random(60, tokens=[f"t{i}" for i in range(300)]), 0.8)
    layout = long.graph.layout
    shown = [node for node in excerpt(long, 20, None).nodes if layout.kind(node) == "token"]
    assert 1 <= len(shown) <= 20 + 6 + 1
    assert layout.token_node(299) in shown
