import numpy as np
import pytest

from circuits.influence import node_influence
from circuits.layout import Layout
from circuits.scores import completeness_score, replacement_score


def test_by_hand(make_graph):
    # influence: feature 0.6, error 0.3 (through the feature) + 0.1, token 0.3 (through the feature)
    dense = np.array([[0, 2, -2.0], [6, 1, 0]]) * 1.0
    graph = make_graph(dense, [(0, 0, 0)], [0.7], n_layers=1, n_pos=1)
    influence = node_influence(graph.adjacency, graph.target_weights)
    np.testing.assert_allclose(influence, [0.6, 0.4, 0.3])
    np.testing.assert_allclose(replacement_score(graph.layout, influence), 0.3 / 0.7)
    # feature: half of its input is explained, it hands on 0.6; target: 6/7 of 0.7; error and token have no input
    expected = (0.5 * 0.6 + 6 / 7 * 0.7 + 0.4 + 0.3) / (0.6 + 0.7 + 0.4 + 0.3)
    np.testing.assert_allclose(completeness_score(graph.layout, influence, graph.target_weights), expected)


@pytest.mark.parametrize("seed", range(4))
def test_completeness_is_the_weighted_mean_over_nodes(make_random_graph, seed):
    graph = make_random_graph(seed)
    layout, weights = graph.layout, graph.target_weights
    influence = node_influence(graph.adjacency, weights)
    shares = np.abs(graph.adjacency.toarray())
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1e-10)
    explained = np.ones(layout.n_nodes)
    explained[layout.row_nodes()] = 1 - shares[:, layout.error_nodes].sum(axis=1)
    handed_on = np.concatenate([influence, weights])
    expected = (explained * handed_on).sum() / handed_on.sum()
    np.testing.assert_allclose(completeness_score(layout, influence, weights), expected, rtol=1e-12)


def test_without_errors_everything_is_explained():
    layout = Layout(1, 1, 1, 1)
    influence = np.array([0.5, 0.0, 0.5])
    assert replacement_score(layout, influence) == completeness_score(layout, influence, np.ones(1)) == 1


def test_without_influence_nothing_is_explained():
    layout = Layout(1, 1, 1, 1)
    assert replacement_score(layout, np.zeros(3)) == completeness_score(layout, np.zeros(3), np.zeros(1)) == 0
