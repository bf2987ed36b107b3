import numpy as np
import pytest
import scipy.sparse as sp

from circuits.edge_selection import SMALLEST, drop_edges, share_threshold, strongest_edges


def sorted_selection(scores: np.ndarray, share: float) -> np.ndarray:
    """The same by sorting everything."""
    ordered = np.sort(scores.ravel())[::-1]
    reached = np.cumsum(ordered)
    index = min(int(np.searchsorted(reached, share * reached[-1])), ordered.size - 1)
    return (scores >= ordered[index]) & (scores > 0)


def one_row(values: np.ndarray, share: float) -> np.ndarray:
    """Which entries of a single target's row are kept."""
    matrix = sp.csr_array(values[None])
    edges = strongest_edges(matrix, np.ones(1), np.ones(len(values), dtype=bool), share)
    mask = np.zeros(len(values), dtype=bool)
    mask[edges.indices] = True
    np.testing.assert_array_equal(edges.data, values[edges.indices])
    return mask


DISTRIBUTIONS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "heavy": lambda rng, n: rng.normal(size=n) * np.exp(6 * rng.normal(size=n)),
    "tiny beside large": lambda rng, n: np.where(rng.random(n) < 0.5, 1.0, 1e-25) * rng.normal(size=n),
    "few distinct": lambda rng, n: rng.integers(-3, 4, n).astype(float),
    "one bin": lambda rng, n: 1 + 1e-9 * rng.normal(size=n),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.8, 0.98, 0.999])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_selection_is_that_of_sorting(name, share, dtype):
    values = DISTRIBUTIONS[name](np.random.default_rng(3), 5000).astype(dtype)
    scores = np.abs(values.astype(np.float64)) * (1 / np.abs(values.astype(np.float64)).sum())
    np.testing.assert_array_equal(one_row(values, share), sorted_selection(scores, share))


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_share_one_keeps_every_edge(name):
    values = DISTRIBUTIONS[name](np.random.default_rng(4), 500)
    np.testing.assert_array_equal(one_row(values, 1.0), values != 0)


def test_equal_scores_stay_together():
    assert one_row(np.array([1.0, -1.0, 1.0, 1.0]), 0.1).all()


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_without_edges_nothing_is_kept(share):
    edges = strongest_edges(sp.csr_array((3, 5)), np.ones(1), np.ones(5, dtype=bool), share)
    assert edges.shape == (3, 5)
    assert edges.nnz == 0


def test_rows_are_renormalised_over_kept_sources():
    # without column 2 the row of feature 0 is shared 3 : 1, so its scores are 0.75 and 0.25 of what it hands on
    matrix = sp.csr_array(np.array([[0.0, 3.0, 96.0, 1.0], [1.0, 0, 0, 0]]))
    kept = np.array([True, True, False, True])
    assert strongest_edges(matrix, np.ones(1), kept, 0.85).nnz == 2
    assert strongest_edges(matrix, np.ones(1), kept, 0.9).nnz == 3


def test_the_input_is_not_changed():
    matrix = sp.csr_array(np.random.default_rng(0).normal(size=(1, 50)))
    before = matrix.copy()
    edges = strongest_edges(matrix, np.ones(1), np.ones(50, dtype=bool), 0.5)
    drop_edges(edges, np.zeros(1, dtype=bool), np.ones(50, dtype=bool))
    assert (matrix != before).nnz == 0


def test_drop_edges_by_row_and_by_source():
    matrix = sp.csr_array(np.arange(1.0, 10.0).reshape(3, 3))
    left = drop_edges(matrix, np.array([True, False, True]), np.array([False, True, True]))
    np.testing.assert_array_equal(left.toarray(), [[0, 2, 3], [0, 0, 0], [0, 8, 9]])


def test_share_threshold_by_hand():
    scores = np.array([1.0, 4.0, 2.0, 3.0])
    assert [share_threshold(scores, goal) for goal in (0, 4, 4.1, 7, 9.9, 10, 11)] == [4, 4, 3, 3, 1, 1, 1]
    assert share_threshold(scores, 12, above=5) == 3
    assert share_threshold(np.zeros(3), 0.5) == share_threshold(np.zeros(0), 0.5) == SMALLEST
