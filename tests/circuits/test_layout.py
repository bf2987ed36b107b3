import numpy as np
import pytest

from circuits.layout import Layout

LAYOUT = Layout(n_features=4, n_layers=2, n_pos=3, n_targets=2)


def test_numbers_by_hand():
    # nodes: 4 features 0-3, 6 errors 4-9, 3 tokens 10-12, 2 targets 13-14
    assert (LAYOUT.n_errors, LAYOUT.n_tokens, LAYOUT.n_rows, LAYOUT.n_cols, LAYOUT.n_nodes) == (6, 3, 6, 13, 15)
    assert LAYOUT.feature_nodes == slice(0, 4)
    assert LAYOUT.error_nodes == slice(4, 10)
    assert LAYOUT.token_nodes == slice(10, 13)
    assert LAYOUT.target_nodes == slice(13, 15)
    assert LAYOUT.target_rows == slice(4, 6)
    assert LAYOUT.row_nodes().tolist() == [0, 1, 2, 3, 13, 14]


def test_errors_are_layer_major():
    assert [LAYOUT.error_node(layer, pos) for layer in range(2) for pos in range(3)] == list(range(4, 10))


@pytest.mark.parametrize("node", range(4, 10))
def test_error_place_and_node_are_inverse(node):
    assert LAYOUT.error_node(*LAYOUT.error_layer_pos(node)) == node


@pytest.mark.parametrize("pos", range(3))
def test_token_place_and_node_are_inverse(pos):
    assert LAYOUT.token_pos(LAYOUT.token_node(pos)) == pos


def test_every_node_has_the_kind_of_its_range():
    ranges = {
        "feature": LAYOUT.feature_nodes,
        "error": LAYOUT.error_nodes,
        "token": LAYOUT.token_nodes,
        "target": LAYOUT.target_nodes,
    }
    by_range = {node: kind for kind, nodes in ranges.items() for node in range(nodes.start, nodes.stop)}
    assert by_range == {node: LAYOUT.kind(node) for node in range(LAYOUT.n_nodes)}


def test_target_index():
    assert [LAYOUT.target_index(node) for node in (13, 14)] == [0, 1]


@pytest.mark.parametrize("node", [-1, 15])
def test_no_kind_outside(node):
    with pytest.raises(IndexError, match="outside"):
        LAYOUT.kind(node)


def test_a_graph_without_features():
    empty = Layout(0, 2, 3, 1)
    assert empty.kind(0) == "error"
    np.testing.assert_array_equal(empty.row_nodes(), [9])
