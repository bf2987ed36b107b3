from collections.abc import Callable

import numpy as np
import pytest

from circuits import attribute
from circuits.graph import Graph
from circuits.studies.signed_effects import signed_effects
from replacement_model import Intervention, ReplacementModel, intervene


def test_a_chain_worked_out_by_hand(make_graph: Callable[..., Graph]) -> None:
    # `make_graph` gives the only feature the activation 1
    dense = np.array([[0.0, -4.0, 2.0], [3.0, 0.5, 1.0]])  # rows: feature, target; columns: feature, error, token
    graph = make_graph(dense, [(0, 0, 7)], [1.0], 1, 1)
    found = signed_effects(graph, np.array([1.0]))
    np.testing.assert_allclose(found, [3.0, 0.5 + 3.0 * -4.0, 1.0 + 3.0 * 2.0])


def test_it_is_the_sum_over_all_paths(make_random_graph: Callable[..., Graph]) -> None:
    graph = make_random_graph(3)
    weights = np.array([1.0, -1.0, 0.5])
    n, dense = graph.layout.n_features, graph.adjacency.toarray()
    step = np.zeros((n, graph.layout.n_cols))
    step[:] = dense[:n] / graph.feature_acts[:, None]
    expected = weights @ dense[n:]
    through = expected[:n].copy()
    for _ in range(graph.n_layers):  # paths of one more edge at a time
        more = through @ step
        expected, through = expected + more, more[:n]
    np.testing.assert_allclose(signed_effects(graph, weights), expected, rtol=1e-9)


@pytest.mark.parametrize("transcoder", ["clt"])
def test_without_other_features_on_the_way_it_is_the_measured_direct_effect(transcoder: str) -> None:
    model = ReplacementModel.from_pretrained("pocket", transcoder)
    prompt = "Andy Murray plays the sport of"
    graph = attribute(model, prompt, ["tennis"])
    effects = signed_effects(graph, np.array([1.0]))
    last = graph.features[:, 0] == graph.n_layers - 1  # of the last layer there are no later features
    node = int(np.flatnonzero(last)[np.argmax(np.abs(effects[: len(last)][last]))])
    result = intervene(model, prompt, Intervention.ablate(tuple(map(int, graph.features[node]))), "direct")
    change = (result.logits_after - result.logits_before)[0].double()
    tennis = model.token_id("tennis")
    assert float(change.mean() - change[tennis]) == pytest.approx(effects[node], rel=1e-3)
