from itertools import pairwise

import networkx as nx
import numpy as np
import pytest

from circuits.paths import Path, strongest_features, strongest_paths
from circuits.pruning import prune
from replacement_model.errors import InputError

# columns: features 0 and 1 (layers 0 and 1), errors 2 and 3, token 4; rows: the features, then the target (node 5)
FEATURES = [(0, 0, 0), (1, 0, 3)]
DENSE = np.array(
    [
        [0, 0, 0, 0, -2.0],
        [3.0, 0, 1.0, 0, 4.0],
        [0, -5.0, 0, 3.0, 2.0],
    ]
)


@pytest.fixture
def chain(make_graph):
    return prune(make_graph(DENSE, FEATURES, [0.8], n_layers=2, n_pos=1), 1.0, 1.0)


def test_all_paths_of_a_chain_by_hand(chain):
    assert strongest_paths(chain) == (
        Path((4, 1, 5), 0.25, -1),
        Path((4, 5), 0.2, 1),
        Path((4, 0, 1, 5), 0.1875, 1),
    )


def test_from_one_node(chain):
    assert strongest_paths(chain, source=0) == (Path((0, 1, 5), 0.1875, -1),)
    assert strongest_paths(chain, source=3) == (Path((3, 5), 0.3, 1),)


def test_to_a_feature(chain):
    assert strongest_paths(chain, target=1, count=1) == (Path((4, 1), 0.5, 1),)
    assert strongest_paths(chain, source=4, target=1) == (Path((4, 1), 0.5, 1), Path((4, 0, 1), 0.375, -1))


def test_no_way_is_no_path(chain):
    assert strongest_paths(chain, source=3, target=1) == ()


def test_shares_are_of_the_unpruned_input(make_graph):
    circuit = prune(make_graph(DENSE, FEATURES, [0.8], n_layers=2, n_pos=1), 0.5, 0.5)
    assert circuit.edges.nnz < np.count_nonzero(DENSE)
    assert strongest_paths(circuit, count=1) == (Path((4, 1, 5), 0.25, -1),)


def every_path(circuit, source: int, target: int) -> list[tuple[float, tuple[int, ...]]]:
    """All simple paths, by enumeration."""
    graph = circuit.graph
    square = graph.to_scipy().toarray().astype(np.float64)
    shares = np.abs(square) / np.maximum(np.abs(square).sum(axis=1, keepdims=True), 1e-10)
    network = nx.DiGraph()
    network.add_nodes_from(range(graph.layout.n_nodes))
    rows, cols = circuit.edges.nonzero()
    nodes = graph.layout.row_nodes()[rows]
    network.add_edges_from(zip(cols.tolist(), nodes.tolist(), strict=True))
    paths = nx.all_simple_paths(network, source, target)
    weighed = ((float(np.prod([shares[b, a] for a, b in pairwise(path)])), tuple(path)) for path in paths)
    return sorted(weighed, reverse=True)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count", [1, 7])
def test_best_paths_are_those_of_enumeration(make_random_graph, seed, count):
    circuit = prune(make_random_graph(seed, n_features=16), 0.95, 0.99)
    layout = circuit.graph.layout
    for target in range(layout.target_nodes.start, layout.target_nodes.stop):
        from_any = []
        for source in range(layout.token_nodes.start, layout.token_nodes.stop):
            expected = every_path(circuit, source, target)
            from_any += expected
            found = strongest_paths(circuit, source=source, target=target, count=count)
            assert [path.nodes for path in found] == [nodes for _, nodes in expected[:count]]
            np.testing.assert_allclose([path.share for path in found], [share for share, _ in expected[:count]])
        found = strongest_paths(circuit, target=target, count=count)
        np.testing.assert_allclose(
            [path.share for path in found], [share for share, _ in sorted(from_any, reverse=True)[:count]]
        )


def test_signs_multiply_along_the_path(make_random_graph):
    circuits = [prune(make_random_graph(seed)) for seed in range(4)]
    found = [(circuit, path) for circuit in circuits for path in strongest_paths(circuit, count=20)]
    assert {path.sign for _, path in found} == {-1, 1}
    for circuit, path in found:
        square = circuit.graph.to_scipy()
        assert path.sign == np.prod([np.sign(square[target, source]) for source, target in pairwise(path.nodes)])


def test_the_default_target_is_the_heaviest(make_random_graph):
    circuit = prune(make_random_graph(0))
    heaviest = circuit.graph.layout.target_nodes.start + int(np.argmax(circuit.graph.target_weights))
    assert {path.nodes[-1] for path in strongest_paths(circuit)} == {heaviest}


@pytest.mark.parametrize("wrong", [{"target": 4}, {"target": 99}, {"source": 5}, {"source": -1}, {"count": 0}])
def test_nodes_that_cannot_be_are_refused(chain, wrong):
    with pytest.raises(InputError, match="expected"):
        strongest_paths(chain, **wrong)


def test_strongest_features_by_hand(chain):
    first, second = strongest_features(chain)
    assert (first.node, first.layer, first.pos, first.feature_idx) == (1, 1, 0, 3)
    assert first.influence == pytest.approx(0.5)
    assert (second.node, second.influence) == (0, pytest.approx(0.1875))
    assert strongest_features(chain, count=1) == (first,)
    assert strongest_features(chain, pos=1) == ()


def test_strongest_features_are_kept_ones(make_random_graph):
    circuit = prune(make_random_graph(3, n_features=60), 0.6, 0.9)
    features = strongest_features(circuit, count=1000)
    n_features = circuit.graph.layout.n_features
    assert sorted(feature.node for feature in features) == np.flatnonzero(circuit.node_mask[:n_features]).tolist()
    influences = [feature.influence for feature in features]
    assert influences == sorted(influences, reverse=True)
    at_one = strongest_features(circuit, count=1000, pos=1)
    assert at_one == tuple(feature for feature in features if feature.pos == 1)
