import numpy as np

from circuits.edge_influence import edge_influence
from circuits.pruning import prune
from viz.kept import as_circuit


def test_a_graph_is_kept_whole(texas_graph, texas):
    circuit = as_circuit(texas_graph)
    assert circuit.edges.nnz == texas_graph.adjacency.nnz
    assert as_circuit(texas) is texas


def test_edge_influence_adds_up_to_node_influence(texas_graph):
    # In the whole graph a node's influence is what flows through its outgoing edges.
    circuit = prune(texas_graph, 1.0, 1.0)
    flow = np.asarray(edge_influence(circuit).sum(axis=0)).ravel()
    np.testing.assert_allclose(flow, circuit.node_influence[: texas_graph.layout.n_cols], rtol=1e-12, atol=1e-15)


def test_edge_influence_of_a_pruned_circuit_is_that_of_the_whole_graph(texas_graph, texas):
    whole = edge_influence(prune(texas_graph, 1.0, 1.0)).toarray()
    part = edge_influence(texas).toarray()
    np.testing.assert_allclose(part[part > 0], whole[part > 0], rtol=1e-12)
    assert (part > 0).sum() == texas.edges.nnz
