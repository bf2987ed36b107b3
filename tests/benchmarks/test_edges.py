import numpy as np
import pytest

from benchmarks.edges import Edges, compare


def edges(features: list[tuple[int, int, int]], logits: list[int], values: list[list[float]]) -> Edges:
    return Edges(np.array(features), np.array(logits), np.array(values))


ONE = edges([(0, 1, 5), (1, 1, 7)], [3, 9], [[0, 0, 1], [2, 0, 3], [4, 5, 6], [7, 8, 9]])


def test_common_features_and_logits_are_matched_whatever_their_order() -> None:
    other = edges([(1, 1, 2), (1, 1, 7)], [9, 3], [[0, 0, 8], [0, 0, 3], [8, 8, 9.5], [8, 5, 6]])
    found = compare(ONE, other)
    assert (found.n_common, found.n_selected) == (1, (2, 2))
    assert found.max_difference == 0.5
    assert found.largest_edge == 9


def test_a_graph_survives_its_file(tmp_path) -> None:
    ONE.save(tmp_path / "one.npz")
    assert compare(Edges.load(tmp_path / "one.npz"), ONE).max_difference == 0


def test_other_logits_are_refused() -> None:
    with pytest.raises(ValueError, match="same logits"):
        compare(ONE, edges([(0, 1, 5)], [3, 4], [[0, 0], [1, 1], [1, 1]]))
