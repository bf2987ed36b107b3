import pytest

from circuits.graph import Target
from circuits.node_names import node_names
from replacement_model.evidence.record import cantor_pair


def test_names_say_what_a_node_is(texas_graph):
    names, layout = node_names(texas_graph), texas_graph.layout
    layer, pos, idx = texas_graph.features[0].tolist()
    assert names[0] == f"{layer}_{idx}_{pos}"
    assert names[layout.error_node(2, 5)] == "2_error_mlp_5"
    assert names[layout.token_node(3)] == "E_5_3"
    assert names[layout.target_nodes.start :] == ["5_17_9", "5_18_9", "5_19_9"]


def test_names_are_unique_where_others_collide(make_graph):
    targets = [
        *[Target("logit", "x", 1, 0.5, 2, (7,))] * 2,
        Target("difference", "x − y", 1, 1.0, 2, (7, 8)),
        Target("difference", "x − z", 1, 1.0, 2, (7, 9)),
        Target("direction", "d", 1, 1.0, 2),
        Target("feature", "f", 1, 1.0, 1, (), 4),
    ]
    graph = make_graph([(0, 1, None)] * 5, ("a", "b"), targets, n_layers=2)
    names = node_names(graph)
    assert len(set(names)) == len(names) == graph.layout.n_nodes
    assert all(name.startswith("3_") and name.endswith("_1") for name in names[graph.layout.target_nodes.start :])


@pytest.mark.parametrize(
    ("layer", "idx", "pair"), [(0, 0, 0), (1, 0, 1), (0, 1, 2), (3, 17, 227), (25, 262143, 34366423339)]
)
def test_cantor_pair(layer, idx, pair):
    assert cantor_pair(layer, idx) == (layer + idx) * (layer + idx + 1) // 2 + idx == pair
