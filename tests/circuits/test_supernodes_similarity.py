import numpy as np
import pytest
import scipy.sparse as sp

from circuits.influence import node_influence
from circuits.supernodes.similarity import (
    combine,
    cosine_similarity,
    incoming_similarity,
    label_similarity,
    outgoing_similarity,
)
from replacement_model.labels import FeatureLabel


def test_cosines_by_hand() -> None:
    rows = np.array([[1.0, 0.0], [1.0, 1.0], [-1.0, 0.0], [0.0, 0.0]])
    found = cosine_similarity(rows)
    np.testing.assert_allclose(found[:3, :3], [[1, 0.5**0.5, 0], [0.5**0.5, 1, 0], [0, 0, 1]], atol=1e-15)
    assert np.isnan(found[3]).all()
    np.testing.assert_allclose(cosine_similarity(sp.csr_array(rows)), found)


def test_edge_profiles_against_dense_sums(make_random_graph) -> None:
    graph = make_random_graph(3)
    dense = graph.adjacency.toarray()
    sums = np.abs(dense).sum(axis=1, keepdims=True)
    shares = np.divide(dense, sums, out=np.zeros_like(dense), where=sums > 0)
    handed_on = np.concatenate([node_influence(graph.adjacency, graph.target_weights)[:30], graph.target_weights])
    nodes = np.array([3, 8, 20, 27])
    columns = shares[:, nodes].T * handed_on**0.5

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        norms = np.linalg.norm(a) * np.linalg.norm(b)
        return max(0.0, float(a @ b / norms)) if norms else float("nan")

    for found, rows in (
        (incoming_similarity(graph, nodes), shares[nodes]),
        (outgoing_similarity(graph, nodes), columns),
    ):
        expected = [[cosine(a, b) for b in rows] for a in rows]
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_profiles_do_not_change_with_the_size_of_a_row(make_random_graph, make_graph) -> None:
    graph = make_random_graph(5)
    scaled = make_graph(
        graph.adjacency.toarray() * np.geomspace(0.01, 100, graph.layout.n_rows)[:, None],
        graph.features.tolist(),
        graph.target_weights.tolist(),
        graph.n_layers,
        len(graph.tokens),
    )
    nodes = np.arange(30)
    for measure in (incoming_similarity, outgoing_similarity):
        np.testing.assert_allclose(measure(graph, nodes), measure(scaled, nodes), atol=1e-12)


def test_labels_by_concept_then_by_what_is_raised() -> None:
    labels = (
        FeatureLabel("state: Texas", "state: Texas", 0.9, top_logits=("a", "b")),
        FeatureLabel("state: Texas, somehow", "state: Texas", 0.8, top_logits=("c", "d")),
        FeatureLabel("word: is", "word: is", 0.7, top_logits=("a", "b")),
        FeatureLabel("no match; raises a, b", None, 0.1, top_logits=("a", "b", "e")),
        FeatureLabel("by hand", top_logits=("x",)),
        FeatureLabel("by hand"),
        FeatureLabel("no match", None, 0.2),
        None,
    )
    found = label_similarity(labels)
    np.testing.assert_array_equal(found, found.T)
    assert found[0, 1] == 1.0
    assert found[0, 2] == 0.0
    assert found[0, 3] == pytest.approx(2 / 3)
    assert found[4, 5] == 1.0
    assert np.isnan(found[0, 6])
    assert np.isnan(found[7]).all()


def test_combine_leaves_out_what_is_not_known() -> None:
    parts = {"one": np.array([[1, 0.2], [0.2, 1]]), "two": np.array([[1, np.nan], [np.nan, 1]])}
    np.testing.assert_allclose(combine(parts, {"one": 1.0, "two": 3.0}), [[1, 0.2], [0.2, 1]])
    parts["two"] = np.array([[1, 0.6], [0.6, 1]])
    np.testing.assert_allclose(combine(parts, {"one": 1.0, "two": 3.0}), [[1, 0.5], [0.5, 1]])
    unknown = {"one": np.full((2, 2), np.nan)}
    np.testing.assert_array_equal(combine(unknown, {"one": 1.0}), np.eye(2))
