from itertools import pairwise

import numpy as np
import pytest

from circuits.pruning import prune
from replacement_model.errors import InputError

THRESHOLDS = [(0.8, 0.98), (0.5, 0.9), (0.95, 0.5), (0.3, 0.3), (0.99, 0.999)]


def threshold_by_sorting(scores: np.ndarray, share: float) -> float:
    ordered = np.sort(scores.ravel())[::-1]
    reached = np.cumsum(ordered) / ordered.sum()
    return float(ordered[min(int(np.searchsorted(reached, share)), ordered.size - 1)])


def dense_influence(adjacency: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The Neumann sum term by term, and the matrix of shares."""
    shares = np.abs(adjacency) / np.maximum(np.abs(adjacency).sum(axis=1, keepdims=True), 1e-10)
    total, term = np.zeros(len(weights)), weights
    while term.any():
        term = term @ shares
        total += term
    return total, shares


def dense_prune(graph, node_threshold: float, edge_threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Both masks as golden/README.md describes them, on square dense matrices; dead ends go one round at a time."""
    layout = graph.layout
    adjacency = graph.to_scipy().toarray().astype(np.float64)
    weights = np.zeros(layout.n_nodes)
    weights[layout.target_nodes] = graph.target_weights
    influence, _ = dense_influence(adjacency, weights)
    nodes = influence >= threshold_by_sorting(influence, node_threshold)
    nodes[layout.token_nodes] = nodes[layout.target_nodes] = True
    adjacency[~nodes] = 0
    adjacency[:, ~nodes] = 0
    influence, shares = dense_influence(adjacency, weights)
    scores = shares * (influence + weights)[:, None]
    edges = (scores >= threshold_by_sorting(scores, edge_threshold)) & (adjacency != 0)
    while True:
        before = nodes.sum()
        sources = slice(0, layout.error_nodes.stop)
        nodes[sources] &= edges[:, sources].any(axis=0)
        nodes[layout.feature_nodes] &= edges[layout.feature_nodes].any(axis=1)
        edges &= nodes[:, None] & nodes[None]
        if nodes.sum() == before:
            return nodes, edges[layout.row_nodes(), : layout.n_cols]


def edge_mask(circuit) -> np.ndarray:
    mask = np.zeros(circuit.edges.shape, dtype=bool)
    mask[circuit.edges.nonzero()] = True
    return mask


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_golden_masks_and_scores(golden_case, golden_graph, dtype):
    circuit = prune(golden_graph(golden_case, dtype))
    np.testing.assert_array_equal(circuit.node_mask, golden_case["node_mask"])
    np.testing.assert_array_equal(edge_mask(circuit), golden_case["edge_mask"])
    np.testing.assert_allclose(circuit.node_influence, golden_case["node_influence"], atol=1e-7)
    np.testing.assert_allclose(circuit.cumulative_influence, golden_case["cumulative_scores"], atol=1e-7)
    np.testing.assert_allclose(circuit.replacement_score, golden_case["replacement_score"], atol=1e-7)
    np.testing.assert_allclose(circuit.completeness_score, golden_case["completeness_score"], atol=1e-7)


def test_golden_200_features(golden_dir, golden_graph):
    folder = golden_dir / "llama_clt_jumprelu"
    with np.load(folder / "reference.npz") as whole, np.load(folder / "reference_200_features.npz") as part:
        arrays = {**whole, **part}
    circuit = prune(golden_graph(arrays))
    np.testing.assert_array_equal(circuit.node_mask, arrays["node_mask"])
    np.testing.assert_allclose(circuit.cumulative_influence, arrays["cumulative_scores"], atol=1e-4)
    np.testing.assert_allclose(circuit.replacement_score, arrays["replacement_score"], atol=1e-4)
    np.testing.assert_allclose(circuit.completeness_score, arrays["completeness_score"], atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("thresholds", THRESHOLDS)
@pytest.mark.parametrize("seed", range(6))
def test_masks_are_those_of_the_dense_algorithm(make_random_graph, seed, thresholds, dtype):
    graph = make_random_graph(seed, n_features=60, dtype=dtype)
    circuit = prune(graph, *thresholds)
    nodes, edges = dense_prune(graph, *thresholds)
    np.testing.assert_array_equal(circuit.node_mask, nodes)
    np.testing.assert_array_equal(edge_mask(circuit), edges)


@pytest.mark.parametrize("seed", range(3))
def test_kept_edges_have_their_original_weights(make_random_graph, seed):
    graph = make_random_graph(seed)
    circuit = prune(graph)
    kept = edge_mask(circuit)
    np.testing.assert_array_equal(circuit.edges.toarray()[kept], graph.adjacency.toarray()[kept])


# columns: features 0-3 (layers 0, 0, 1, 1), errors 4 and 5, token 6; rows: the features, then the target
SMALL_FEATURES = [(0, 0, 0), (0, 0, 1), (1, 0, 0), (1, 0, 1)]


def test_dead_ends_fall_in_chains(make_graph):
    # feature 1 has no input, so feature 3, which it alone feeds, goes too, though it feeds the target
    dense = np.zeros((5, 7))
    dense[0, 6] = dense[2, 0] = dense[4, 2] = 1
    dense[3, 1] = dense[4, 3] = 1
    circuit = prune(make_graph(dense, SMALL_FEATURES, [1.0], n_layers=2, n_pos=1), 1.0, 1.0)
    assert circuit.node_mask.tolist() == [True, False, True, False, False, False, True, True]
    assert sorted(zip(*(side.tolist() for side in circuit.edges.nonzero()), strict=True)) == [(0, 6), (2, 0), (4, 2)]


def test_what_reaches_no_target_is_dropped(make_graph):
    # the error of layer 0 feeds feature 3 alone, and feature 3 feeds nothing
    dense = np.zeros((5, 7))
    dense[0, 6] = dense[4, 0] = 1
    dense[3, 4] = dense[3, 0] = 1
    circuit = prune(make_graph(dense, SMALL_FEATURES, [1.0], n_layers=2, n_pos=1), 1.0, 1.0)
    assert circuit.node_mask.tolist() == [True, False, False, False, False, False, True, True]


def test_pruned_error_leaves_everything_explained(make_graph):
    dense = np.zeros((5, 7))
    dense[0, 6] = 9
    dense[0, 4] = dense[4, 4] = 0.01
    dense[4, 0] = 1
    circuit = prune(make_graph(dense, SMALL_FEATURES, [1.0], n_layers=2, n_pos=1), 0.9, 1.0)
    assert circuit.replacement_score < 1
    assert circuit.completeness_score < 1
    assert circuit.circuit_replacement_score == circuit.circuit_completeness_score == 1


def test_cumulative_influence_runs_from_the_largest_node_down(make_random_graph):
    circuit = prune(make_random_graph(1))
    order = np.argsort(-circuit.node_influence, kind="stable")
    assert (np.diff(circuit.cumulative_influence[order]) >= 0).all()
    shares = circuit.node_influence / circuit.node_influence.sum()
    assert circuit.cumulative_influence[order[0]] == pytest.approx(shares.max())
    assert circuit.cumulative_influence.max() == pytest.approx(1)


@pytest.mark.parametrize("seed", range(4))
def test_more_is_kept_with_higher_thresholds(make_random_graph, seed):
    graph = make_random_graph(seed, n_features=60)
    by_edges = [edge_mask(prune(graph, 0.9, share)) for share in (0.0, 0.3, 0.6, 0.9, 0.98, 1.0)]
    by_nodes = [prune(graph, share, 1.0).node_mask for share in (0.0, 0.3, 0.6, 0.9, 0.98, 1.0)]
    for masks in (by_edges, by_nodes):
        assert all((small <= large).all() for small, large in pairwise(masks))
        assert masks[0].sum() < masks[-1].sum()


def test_thresholds_of_one_keep_whatever_carries_influence(make_random_graph):
    graph = make_random_graph(0, density=1.0)
    circuit = prune(graph, 1.0, 1.0)
    expected = graph.adjacency.toarray() != 0
    without_influence = np.flatnonzero(circuit.node_influence[: graph.layout.n_features] == 0)
    without_input = np.flatnonzero(~expected[: graph.layout.n_features].any(axis=1))
    for gone in (without_influence, without_input):
        expected[gone] = False
        expected[:, gone] = False
    np.testing.assert_array_equal(edge_mask(circuit), expected)


def test_two_runs_give_the_same_bits(make_random_graph):
    graph = make_random_graph(5, n_features=200, dtype=np.float32)
    first, second = prune(graph), prune(graph)
    assert first.edges.data.tobytes() == second.edges.data.tobytes()
    assert first.node_influence.tobytes() == second.node_influence.tobytes()
    assert first.cumulative_influence.tobytes() == second.cumulative_influence.tobytes()


def test_the_graph_is_not_changed(make_random_graph):
    graph = make_random_graph(2)
    before = [getattr(graph.adjacency, part).copy() for part in ("data", "indices", "indptr")]
    prune(graph, 0.5, 0.5)
    for part, values in zip(("data", "indices", "indptr"), before, strict=True):
        np.testing.assert_array_equal(getattr(graph.adjacency, part), values)


def test_a_graph_without_features(make_graph):
    circuit = prune(make_graph(np.array([[0.0, 3.0]]), [], [1.0], n_layers=1, n_pos=1))
    assert circuit.node_mask.tolist() == [False, True, True]
    assert circuit.edges.nnz == 1


def test_a_graph_without_edges_keeps_tokens_and_targets(make_graph):
    circuit = prune(make_graph(np.zeros((5, 7)), SMALL_FEATURES, [1.0], n_layers=2, n_pos=1))
    assert np.flatnonzero(circuit.node_mask).tolist() == [6, 7]
    assert np.isfinite(circuit.cumulative_influence).all()


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["node_threshold", "edge_threshold"])
def test_thresholds_outside_are_refused(make_random_graph, name, value):
    with pytest.raises(InputError, match=f"expected {name} between 0 and 1, got"):
        prune(make_random_graph(0), **{name: value})


@pytest.mark.parametrize("weight", [-0.1, float("nan"), 0.0])
def test_weights_that_cannot_share_out_influence_are_refused(make_graph, weight):
    graph = make_graph(np.array([[0.0, 3.0]]), [], [weight], n_layers=1, n_pos=1)
    with pytest.raises(InputError, match="target weights"):
        prune(graph)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_edges_that_are_not_numbers_are_refused(make_random_graph, value):
    graph = make_random_graph(0)
    graph.adjacency.data[-1] = value
    with pytest.raises(InputError, match="finite edge weights"):
        prune(graph)


def test_an_adjacency_of_another_shape_is_refused(make_graph):
    with pytest.raises(InputError, match=r"expected adjacency of shape \(1, 2\), got \(1, 3\)"):
        prune(make_graph(np.ones((1, 3)), [], [1.0], n_layers=1, n_pos=1))
