import numpy as np
import pytest
import scipy.sparse as sp

from circuits.influence import node_influence


def solved_influence(graph) -> np.ndarray:
    """w N (1 - N)^-1 on the dense square matrix of shares."""
    shares = np.abs(graph.to_scipy().toarray().astype(np.float64))
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1e-10)
    weights = np.zeros(len(shares))
    weights[graph.layout.target_nodes] = graph.target_weights
    return (np.linalg.solve(np.eye(len(shares)) - shares.T, weights) - weights)[: graph.layout.n_cols]


def test_two_features_by_hand(make_graph):
    # feature 0 <- token; feature 1 <- 1/4 feature 0, 3/4 error; target (0.6) <- 2/3 feature 1, 1/3 token
    dense = np.array([[0, 0, 0, 0, 5.0], [1, 0, -3, 0, 0], [0, 4, 0, 0, -2]])
    graph = make_graph(dense, [(0, 0, 0), (1, 0, 0)], [0.6], n_layers=2, n_pos=1)
    np.testing.assert_allclose(node_influence(graph.adjacency, graph.target_weights), [0.1, 0.4, 0.3, 0, 0.3])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_one_pass_is_the_neumann_sum(make_random_graph, seed, dtype):
    graph = make_random_graph(seed, dtype=dtype)
    influence = node_influence(graph.adjacency, graph.target_weights)
    np.testing.assert_allclose(influence, solved_influence(graph), atol=1e-13)


def test_what_leaves_the_targets_arrives_at_the_roots(make_random_graph):
    graph = make_random_graph(0, density=1.0)
    influence = node_influence(graph.adjacency, graph.target_weights)
    empty = np.flatnonzero(np.diff(graph.adjacency.indptr) == 0)
    arrived = influence[graph.layout.n_features :].sum() + influence[empty].sum()
    np.testing.assert_allclose(arrived, graph.target_weights.sum(), rtol=1e-12)


def test_row_sums_are_clamped():
    tiny = sp.csr_array(np.array([[2e-12]]))
    np.testing.assert_allclose(node_influence(tiny, np.ones(1)), [2e-12 / 1e-10])


def test_scipy_arrays_of_other_types_are_taken(make_random_graph):
    graph = make_random_graph(1)
    matrix = graph.adjacency
    wide = sp.csr_array((matrix.data, matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)), matrix.shape)
    whole = sp.csr_array(np.array([[0, 0, 3, 1], [2, 0, 0, 2]]))
    expected = node_influence(matrix, graph.target_weights)
    np.testing.assert_array_equal(node_influence(wide, graph.target_weights), expected)
    np.testing.assert_allclose(node_influence(whole, np.ones(1)), [0.5, 0, 0.375, 0.625])
