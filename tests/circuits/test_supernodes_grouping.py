import numpy as np
import pytest

from circuits.supernodes.grouping import Group, Grouping
from replacement_model.errors import InputError
from replacement_model.interventions.features import as_features


def test_features_are_what_an_intervention_takes(make_random_graph) -> None:
    graph = make_random_graph(0)
    error = graph.layout.error_node(1, 2)
    group = Group("mixed", (4, error, 2, graph.layout.target_nodes.start))
    assert group.features(graph) == (tuple(graph.features[4].tolist()), tuple(graph.features[2].tolist()))
    assert Group("error", (error,)).features(graph) == ()


def test_a_node_belongs_to_one_supernode() -> None:
    with pytest.raises(InputError, match=r"node 3 twice \('one' and 'two'\)"):
        Grouping((Group("one", (1, 3)), Group("two", (3,))))
    with pytest.raises(InputError, match="node 5 twice"):
        Grouping((Group("one", (5, 5)),))
    with pytest.raises(InputError, match="nodes in supernode 'none'"):
        Grouping((Group("none", ()),))


def test_a_supernode_is_found_by_its_label() -> None:
    grouping = Grouping((Group("a", (0,)), Group("b", (1,)), Group("b", (2,))))
    assert grouping.named("a").nodes == (0,)
    with pytest.raises(InputError, match="one supernode 'b', found 2"):
        grouping.named("b")
    with pytest.raises(InputError, match="found 0; there are: none"):
        Grouping(()).named("a")


def test_within_leaves_out_nodes_and_then_supernodes() -> None:
    grouping = Grouping((Group("a", (0, 2)), Group("b", (1,))))
    assert grouping.within(np.array([True, False, False])) == Grouping((Group("a", (0,)),))
    np.testing.assert_array_equal(grouping.membership(np.array([2, 1, 3, 0])), [0, 1, -1, 0])


def test_an_intervention_takes_a_group_as_its_supernode(make_random_graph) -> None:
    graph = make_random_graph(0)
    group = Group("texas", (4, graph.layout.error_node(1, 2), 2))
    found = group.supernode(graph)
    assert found.name == "texas"
    assert found.features == as_features(group.features(graph))
    assert found.acts == tuple(graph.feature_acts[[4, 2]].tolist())
