from dataclasses import replace

import numpy as np

FEATURES = [(0, 0, 7), (1, 1, 4)]
# columns: 2 features, 4 errors (layer-major), 2 tokens
DENSE = np.array(
    [
        [0, 0, 0, 0, 0, 0, 1.5, 0],
        [-2, 0, 0, 0.25, 0, 0, 0, 3],
        [0, 4, 0, 0, 0, -1, 0, 5],
    ]
)


def test_square_adjacency_has_the_rows_at_their_nodes(make_graph):
    graph = make_graph(DENSE, FEATURES, [0.5], n_layers=2, n_pos=2)
    square = graph.to_scipy().toarray()
    assert square.shape == (9, 9)
    np.testing.assert_array_equal(square[[0, 1, 8], :8], DENSE)
    assert np.count_nonzero(square) == np.count_nonzero(DENSE)


def test_networkx_has_every_node_and_edge(make_graph):
    graph = make_graph(DENSE, FEATURES, [0.5], n_layers=2, n_pos=2)
    network = graph.to_networkx()
    assert sorted(network.nodes) == list(range(9))
    edges = {(source, target): data["weight"] for source, target, data in network.edges(data=True)}
    assert edges == {(6, 0): 1.5, (0, 1): -2, (3, 1): 0.25, (7, 1): 3, (1, 8): 4, (5, 8): -1, (7, 8): 5}


def test_attributes_of_each_kind_of_node(make_graph):
    graph = make_graph(DENSE, FEATURES, [0.5], n_layers=2, n_pos=2)
    assert graph.node_attributes(0) == {
        "kind": "feature",
        "layer": 0,
        "pos": 0,
        "feature_idx": 7,
        "activation": 1.0,
        "label": "odd one",
    }
    assert graph.node_attributes(1)["label"] == "L1 #4"
    assert graph.node_attributes(4) == {"kind": "error", "layer": 1, "pos": 0, "label": "error L1"}
    assert graph.node_attributes(7) == {"kind": "token", "layer": -1, "pos": 1, "label": "token 1"}
    target = graph.node_attributes(8)
    assert (target["kind"], target["layer"], target["label"], target["weight"]) == ("target", 2, "out 0", 0.5)


def test_target_weights_are_not_renormalised(make_graph):
    graph = make_graph(np.vstack([DENSE, DENSE[2]]), FEATURES, [0.5, 0.2], n_layers=2, n_pos=2)
    np.testing.assert_array_equal(graph.target_weights, [0.5, 0.2])


def test_the_rounding_share_is_that_of_the_worst_row(make_graph):
    graph = make_graph(DENSE, FEATURES, [0.5], n_layers=2, n_pos=2)
    assert graph.rounding_share == 0
    rounding = np.array([0, -0.5, 0])
    books = replace(graph.books, rounding=rounding)
    terms = 5.25 + abs(books.constant[1]) + abs(books.omitted[1]) + 0.5
    assert replace(graph, books=books).rounding_share == 0.5 / terms
