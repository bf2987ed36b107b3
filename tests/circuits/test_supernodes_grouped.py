from collections.abc import Callable

import numpy as np
import pytest

from circuits.edge_influence import edge_influence
from circuits.graph_validation import check_circuit
from circuits.pruning import Circuit, prune
from circuits.supernodes.grouped import GroupedCircuit, group, prune_groups
from circuits.supernodes.grouping import Group, Grouping
from replacement_model.errors import InputError


def square(circuit: Circuit, values: np.ndarray) -> np.ndarray:
    layout = circuit.graph.layout
    dense = np.zeros((layout.n_nodes, layout.n_nodes))
    dense[layout.row_nodes(), : layout.n_cols] = values
    return dense


@pytest.fixture(params=[0, 1, 2])
def grouped(request, make_random_graph: Callable) -> GroupedCircuit:
    """Random groups of features of all layers, one with a token and an error, and one that pruning breaks up."""
    circuit = prune(make_random_graph(request.param, n_features=60), 1.0, 0.995)
    layout, rng = circuit.graph.layout, np.random.default_rng(request.param)
    order = rng.permutation(layout.n_features).tolist()
    mixed = (*order[:3], layout.token_node(1), layout.error_node(0, 0))
    return group(
        circuit, Grouping((Group("mixed", mixed), Group("b", tuple(order[3:15])), Group("c", tuple(order[15:30]))))
    )


def test_edges_are_sums_of_signed_member_edges(grouped: GroupedCircuit) -> None:
    circuit = grouped.circuit
    for sums, inner, values in (
        (grouped.edges, grouped.inner, circuit.edges),
        (grouped.edge_influence, grouped.inner_influence, edge_influence(circuit)),
    ):
        dense = square(circuit, values.toarray())
        expected = np.array([[dense[np.ix_(a, b)].sum() for b in grouped.blocks] for a in grouped.blocks])
        np.testing.assert_allclose(inner, np.diag(expected), atol=1e-9)
        np.fill_diagonal(expected, 0)
        np.testing.assert_allclose(sums.toarray(), expected, atol=1e-9)


def test_nothing_is_lost(grouped: GroupedCircuit) -> None:
    """What flows into the members of a block is the sum of its row and its inner effect; likewise out of them."""
    dense = square(grouped.circuit, grouped.circuit.edges.toarray())
    into = np.array([dense[list(nodes)].sum() for nodes in grouped.blocks])
    out_of = np.array([dense[:, list(nodes)].sum() for nodes in grouped.blocks])
    np.testing.assert_allclose(grouped.edges.sum(axis=1) + grouped.inner, into, atol=1e-9)
    np.testing.assert_allclose(grouped.edges.sum(axis=0) + grouped.inner, out_of, atol=1e-9)
    assert np.abs(grouped.inner).sum() > 0


def test_every_kept_node_is_in_one_block(grouped: GroupedCircuit) -> None:
    nodes = sorted(node for block in grouped.blocks for node in block)
    assert nodes == np.flatnonzero(grouped.circuit.node_mask).tolist()
    assert all((grouped.block[list(block)] == k).all() for k, block in enumerate(grouped.blocks))
    assert (grouped.block[~grouped.circuit.node_mask] == -1).all()
    influence = [grouped.circuit.node_influence[list(block)].sum() for block in grouped.blocks]
    np.testing.assert_allclose(grouped.block_influence, influence)


def test_without_supernodes_the_circuit_is_what_it_was(grouped: GroupedCircuit) -> None:
    circuit = grouped.circuit
    plain = group(circuit, Grouping(()))
    nodes = np.flatnonzero(circuit.node_mask)
    assert plain.blocks == tuple((node,) for node in nodes.tolist())
    np.testing.assert_array_equal(plain.edges.toarray(), square(circuit, circuit.edges.toarray())[np.ix_(nodes, nodes)])
    assert not plain.inner.any()
    network = plain.to_networkx()
    assert network.number_of_edges() == circuit.edges.nnz
    assert {data["kind"] for _, data in network.nodes(data=True)} <= {"feature", "error", "token", "target"}


def test_networkx_has_supernodes_as_nodes(grouped: GroupedCircuit) -> None:
    network = grouped.to_networkx()
    assert network.nodes[0]["kind"] == "supernode"
    assert network.nodes[0]["label"] == "mixed"
    assert network.nodes[1]["nodes"] == grouped.blocks[1]
    edges = grouped.edges.tocoo()
    for row, col, weight in zip(edges.row.tolist(), edges.col.tolist(), edges.data.tolist(), strict=True):
        assert network.edges[col, row]["weight"] == weight


def test_pruning_by_supernodes_keeps_or_drops_them_whole(grouped: GroupedCircuit) -> None:
    pruned = prune_groups(grouped, 0.7, 0.9)
    check_circuit(pruned.circuit)
    assert pruned.circuit.node_mask.sum() < grouped.circuit.node_mask.sum()
    assert all(one in grouped.grouping.groups for one in pruned.grouping)
    kept = pruned.block_influence.sum() / grouped.block_influence.sum()
    assert kept >= 0.7 - 0.25  # what is on no way any more leaves after the cut
    dense, before = (
        square(pruned.circuit, pruned.circuit.edges.toarray()),
        square(grouped.circuit, grouped.circuit.edges.toarray()),
    )
    for nodes in pruned.blocks:
        np.testing.assert_array_equal(dense[np.ix_(nodes, nodes)], before[np.ix_(nodes, nodes)])
    shared = {frozenset(nodes): k for k, nodes in enumerate(grouped.blocks)}
    here = [shared[frozenset(nodes)] for nodes in pruned.blocks]
    was = grouped.edges.toarray()[np.ix_(here, here)]
    now = pruned.edges.toarray()
    np.testing.assert_allclose(now[now != 0], was[now != 0], atol=1e-12)


def test_pruning_everything_in_changes_nothing_but_dead_ends(grouped: GroupedCircuit) -> None:
    pruned = prune_groups(grouped, 1.0, 1.0)
    assert prune_groups(pruned, 1.0, 1.0).blocks == pruned.blocks
    np.testing.assert_array_equal(pruned.circuit.edges.toarray(), grouped.circuit.edges.toarray())


def test_what_is_left_lies_on_a_way_to_a_target(grouped: GroupedCircuit) -> None:
    import networkx as nx

    pruned = prune_groups(grouped, 0.6, 0.8)
    network, layout = pruned.to_networkx(), pruned.circuit.graph.layout
    ends = [k for k, nodes in enumerate(pruned.blocks) if max(nodes) >= layout.n_cols]
    roots = [
        k for k, nodes in enumerate(pruned.blocks) if any(layout.n_features <= one < layout.n_cols for one in nodes)
    ]
    for block in range(len(pruned.blocks)):
        if pruned.kind(block) in ("supernode", "feature", "error"):
            assert any(nx.has_path(network, block, end) for end in ends)
            assert any(nx.has_path(network, root, block) for root in roots)


def test_nodes_of_another_graph_are_refused(grouped: GroupedCircuit) -> None:
    with pytest.raises(InputError, match="is it of another graph"):
        group(grouped.circuit, Grouping((Group("a", (9999,)),)))
    with pytest.raises(InputError, match="edge_threshold between 0 and 1, got 2"):
        prune_groups(grouped, 0.5, 2)
