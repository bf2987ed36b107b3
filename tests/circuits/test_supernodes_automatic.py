"""On the pocket model: what is measured is what the similarities say, and nothing depends on chance."""

import numpy as np
import pytest

from circuits import attribute, prune
from circuits.supernodes.automatic import find_groups, kept_features, measure_similarities
from circuits.supernodes.clustering import cluster
from circuits.supernodes.evidence import activation_profiles, decoder_directions
from circuits.supernodes.similarity import combine, cosine_similarity
from replacement_model import ReplacementModel
from replacement_model.errors import InputError

TEXTS = (
    "the capital of the state containing Dallas is",
    "the capital of the state containing Oakland is",
    "the capital of Texas is",
    "the opposite of small is",
    "the capital of the state containing Dallas is",
)


@pytest.fixture(scope="module")
def model() -> ReplacementModel:
    return ReplacementModel.from_pretrained("pocket")


@pytest.fixture(scope="module")
def circuit(model):
    return prune(attribute(model, TEXTS[0]), 0.9)


def test_decoders_are_summed_over_the_layers_written_to(model, circuit) -> None:
    features = circuit.graph.features[kept_features(circuit)]
    found = decoder_directions(model, features)
    for row, (layer, _, idx) in zip(found, features.tolist(), strict=True):
        expected = sum(matrix[idx].double() for matrix in model.transcoder.layers[layer].W_dec)
        np.testing.assert_allclose(row, expected.numpy(), rtol=1e-6)


def test_profiles_hold_each_context_once(model, circuit) -> None:
    """Against the features that `attribute` finds on every text."""
    features = circuit.graph.features[kept_features(circuit)]
    found = activation_profiles(model, TEXTS, features).toarray()
    columns, expected = {}, []
    for text in TEXTS:
        graph = attribute(model, text)
        acts = {tuple(key): act for key, act in zip(graph.features.tolist(), graph.feature_acts.tolist(), strict=True)}
        for pos in range(1, len(graph.tokens)):
            context = tuple(graph.token_ids[: pos + 1].tolist())
            if columns.setdefault(context, len(columns)) == len(expected):
                expected.append([acts.get((layer, pos, idx), 0.0) for layer, _, idx in features.tolist()])
    assert found.shape == (len(features), len(columns))
    np.testing.assert_allclose(found, np.array(expected).T, rtol=1e-4, atol=1e-6)
    assert (found > 0).any(axis=1).all()  # the first text is the graph's own


def test_groups_are_those_of_the_measured_similarities(model, circuit) -> None:
    found = find_groups(circuit, model, TEXTS)
    nodes = kept_features(circuit)
    parts, n_contexts = measure_similarities(circuit, nodes, model, TEXTS)
    assert list(found.weights) == list(parts) == ["incoming", "outgoing", "decoder", "activation", "labels"]
    np.testing.assert_array_equal(found.clusters.assignment, cluster(combine(parts)).assignment)
    assert found.n_contexts == n_contexts == 16
    for group in found.grouping:
        assert len(group.nodes) > 1
        assert len(set(found.clusters.assignment[np.isin(nodes, group.nodes)])) == 1


def test_the_same_twice(model, circuit) -> None:
    one, two = (find_groups(circuit, model, TEXTS) for _ in range(2))
    assert one.grouping == two.grouping
    assert one.clusters.silhouette == two.clusters.silhouette
    assert one.stability == two.stability


def test_a_graph_alone_is_enough(circuit) -> None:
    found = find_groups(circuit)
    assert list(found.weights) == ["incoming", "outgoing", "labels"]
    assert found.n_contexts == 0
    assert list(find_groups(circuit, labels=False).weights) == ["incoming", "outgoing"]


def test_stability_says_what_the_groups_hang_on(circuit) -> None:
    found = find_groups(circuit, n_groups=5)
    parts, _ = measure_similarities(circuit, kept_features(circuit), None, ())
    assert set(found.stability.without) == set(parts)
    assert set(found.stability.threshold) == {0.85, 0.95}
    values = [*found.stability.without.values(), *found.stability.threshold.values()]
    assert found.stability.mean == pytest.approx(np.mean(values))
    assert max(values) <= 1.0
    del parts["labels"]
    same = cluster(combine(parts), 5).assignment
    assert (found.stability.without["labels"] == 1.0) == np.array_equal(same, found.clusters.assignment)


def test_as_many_groups_as_asked_for(circuit) -> None:
    n = len(kept_features(circuit))
    assert find_groups(circuit, n_groups=4).clusters.n_groups == 4
    assert len(find_groups(circuit, n_groups=n).grouping) == 0
    with pytest.raises(InputError, match=f"expected 1 to {n} groups"):
        find_groups(circuit, n_groups=n + 1)


def test_a_feature_that_no_text_activates_is_not_compared_there(model, circuit) -> None:
    features = circuit.graph.features[kept_features(circuit)]
    profiles = activation_profiles(model, ["the opposite of small is"], features)
    silent = np.flatnonzero(profiles.sum(axis=1) == 0)
    assert len(silent) > 0
    assert np.isnan(cosine_similarity(profiles)[silent]).all()


def test_what_cannot_be_grouped_is_refused(model, circuit, make_random_graph) -> None:
    with pytest.raises(InputError, match="expected a model to read the texts with"):
        find_groups(circuit, None, TEXTS)
    with pytest.raises(InputError, match="expected a circuit with features, got none"):
        find_groups(prune(circuit.graph, 0.0))
    with pytest.raises(InputError, match="at least one token after the ignored ones"):
        activation_profiles(model, [], circuit.graph.features)
