"""The store of packed rows against a dense computation of the same sums and orders."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from circuits.cone import Cone
from circuits.graph import Target
from circuits.influence import node_influence
from circuits.rows import RowStore
from circuits.sweep import RowBlock, SourceRows
from circuits.targets import TargetRows
from replacement_model import BooksError

N_LAYERS, N_POS, N_TARGETS, N_ACTIVE = 3, 4, 2, 40


class Case:
    """Random rows, as a sweep would give them: nothing outside a target's causal cone, some zeros inside."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        places = {
            tuple(row) for row in np.stack([rng.integers(0, n, N_ACTIVE) for n in (N_LAYERS, N_POS, 100)], 1).tolist()
        }
        self.features = np.array(sorted(places))
        self.n_active = len(self.features)
        layer, pos, _ = self.features.T
        self.by_pos = np.lexsort((np.arange(self.n_active), layer, pos))
        self.below = np.concatenate([layer, [N_LAYERS, N_LAYERS - 1]])  # the second target reads before the last layer
        self.pos = np.concatenate([pos, [N_POS - 1, N_POS - 2]])
        source_layer = np.concatenate([layer, np.repeat(np.arange(N_LAYERS), N_POS), np.full(N_POS, -1)])
        source_pos = np.concatenate([pos, np.tile(np.arange(N_POS), N_LAYERS + 1)])
        in_cone = (source_layer[None] < self.below[:, None]) & (source_pos[None] <= self.pos[:, None])
        self.dense = rng.normal(size=in_cone.shape) * in_cone * (rng.random(in_cone.shape) < 0.9)
        self.constant, self.rounding = rng.normal(size=len(self.pos)), rng.normal(size=len(self.pos))
        self.pre_act = self.dense.sum(1) + self.constant + self.rounding
        self.weights = np.array([0.5, 0.25])
        targets = tuple(Target("logit", str(k), N_POS - 1, w, N_LAYERS) for k, w in enumerate(self.weights.tolist()))
        values = torch.as_tensor(self.pre_act[self.n_active :])
        rows = self.sources(np.arange(self.n_active, self.n_active + N_TARGETS))
        self.targets = TargetRows(targets, rows, values, torch.zeros(N_TARGETS).double())
        self.cone = Cone.of(self.features, N_LAYERS, N_POS)

    def sources(self, rows: np.ndarray) -> SourceRows:
        """Features read before their MLP (odd depths), the targets after one (even depths)."""
        depth = 2 * self.below[rows] + (rows < self.n_active)
        return SourceRows(torch.as_tensor(depth), torch.as_tensor(self.pos[rows]), torch.zeros(len(rows), 1).double())

    def store(self, max_rows: int, in_file: bool = False) -> RowStore:
        store = RowStore(self.targets, self.features, self.by_pos, self.cone, max_rows, in_file)
        self.add(store, np.arange(self.n_active, self.n_active + N_TARGETS), np.full(N_TARGETS, -1))
        return store

    def add(self, store: RowStore, rows: np.ndarray, chosen: np.ndarray) -> None:
        """A batch in two blocks out of order; a third of the constant is known beforehand."""
        first = store.start_batch(chosen, self.sources(rows), self.pre_act[rows], self.constant[rows] / 3)
        shuffled = np.random.default_rng(1).permutation(len(rows))
        for index in np.array_split(shuffled, 2):
            dense = torch.as_tensor(self.dense[rows[index]])
            n_seen = int(self.pos[rows[index]].max(initial=0)) + 1
            block = RowBlock(
                index=torch.as_tensor(index),
                features=dense[:, self.by_pos[: self.cone.n_features(n_seen)]],
                errors=dense[:, self.n_active : -N_POS].unflatten(1, (N_LAYERS, N_POS))[:, :, :n_seen],
                tokens=dense[:, -N_POS:][:, :n_seen],
                constant=torch.as_tensor(self.constant[rows[index]] * 2 / 3),
                rounding=torch.as_tensor(self.rounding[rows[index]]),
            )
            store.fill(first, block)


@pytest.mark.parametrize("in_file", [False, True], ids=["memory", "file"])
@pytest.mark.parametrize("n_chosen", [0, 1, 15, None])
def test_finish_sorts_the_rows_and_adds_up_what_was_left_out(n_chosen: int | None, in_file: bool) -> None:
    case = Case()
    chosen = np.random.default_rng(2).permutation(case.n_active)[:n_chosen]
    store = case.store(N_TARGETS + len(chosen), in_file)
    for batch in np.array_split(chosen, 3):
        if len(batch):
            case.add(store, batch, batch)
    assert store.n_features == len(chosen)
    selected, adjacency, books = store.finish()

    np.testing.assert_array_equal(selected, np.sort(chosen))
    rows = np.concatenate([np.sort(chosen), np.arange(case.n_active, case.n_active + N_TARGETS)])
    cols = np.concatenate([np.sort(chosen), np.arange(case.n_active, case.dense.shape[1])])
    expected = case.dense[np.ix_(rows, cols)]
    np.testing.assert_array_equal(adjacency.toarray(), expected)
    assert adjacency.nnz == np.count_nonzero(expected)
    assert adjacency.has_canonical_format
    assert adjacency.indices.dtype == adjacency.indptr.dtype == np.int32
    unselected = np.setdiff1d(np.arange(case.n_active), chosen)
    np.testing.assert_allclose(books.omitted, case.dense[rows][:, unselected].sum(1), atol=1e-12)
    np.testing.assert_allclose(books.constant, case.constant[rows], atol=1e-12)
    np.testing.assert_allclose(books.rounding, case.rounding[rows], atol=1e-12)
    np.testing.assert_array_equal(books.pre_act, case.pre_act[rows])
    assert books.residual <= 1e-14


def test_the_residual_is_the_worst_miss_over_the_sum_of_terms() -> None:
    case = Case()
    rows = np.arange(case.n_active, case.n_active + N_TARGETS)
    absolute = np.abs(case.dense[rows]).sum(1) + np.abs(case.constant[rows]) + np.abs(case.rounding[rows])
    case.pre_act[rows] += np.array([0.01, -0.02]) * absolute
    _, _, books = case.store(N_TARGETS).finish()
    assert books.residual == pytest.approx(0.02)


def test_a_row_without_terms_closes_only_at_zero() -> None:
    case = Case()
    case.dense[-1], case.constant[-1], case.rounding[-1], case.pre_act[-1] = 0, 0, 0, 0
    assert case.store(N_TARGETS).finish()[2].residual <= 1e-14
    case.pre_act[-1] = 0.5
    assert case.store(N_TARGETS).finish()[2].residual == pytest.approx(0.5)


def test_most_influential_follows_the_rows_that_are_known() -> None:
    case = Case()
    store = case.store(case.n_active + N_TARGETS)
    known: list[int] = []
    for _ in range(4):
        masked = case.dense.copy()
        masked[np.setdiff1d(np.arange(case.n_active), known)] = 0
        influence = node_influence(sp.csr_array(masked), case.weights)[: case.n_active]
        influence[known] = -1
        chosen = store.most_influential(6)
        np.testing.assert_array_equal(chosen, np.argsort(-influence, kind="stable")[:6])
        case.add(store, chosen, chosen)
        known += chosen.tolist()
    rest = store.most_influential(1000)
    assert sorted([*known, *rest.tolist()]) == list(range(case.n_active))


def test_equal_influence_goes_to_the_lower_index() -> None:
    case = Case()
    case.dense[:] = 1.0
    reached = np.flatnonzero((case.features[:, 0] < N_LAYERS - 1) & (case.features[:, 1] < N_POS - 1))
    assert case.store(N_TARGETS).most_influential(5).tolist() == reached[:5].tolist()


@pytest.mark.parametrize("n_chosen", [0, 7, None])
def test_room_is_for_the_largest_cones_and_no_more(n_chosen: int | None) -> None:
    case = Case()
    sizes = np.array(
        [
            (
                case.below[row]
                > np.concatenate([case.features[:, 0], np.repeat(np.arange(N_LAYERS), N_POS), np.full(N_POS, -1)])
            )
            & (case.pos[row] >= np.concatenate([case.features[:, 1], np.tile(np.arange(N_POS), N_LAYERS + 1)]))
            for row in range(len(case.pos))
        ]
    )
    n_chosen = case.n_active if n_chosen is None else n_chosen

    def most(per_row: np.ndarray) -> int:
        return per_row[case.n_active :].sum() + np.sort(per_row[: case.n_active])[::-1][:n_chosen].sum()

    n_values, n_edges = RowStore.sizes(case.targets, case.features, case.cone, N_TARGETS + n_chosen)
    assert n_values == most(sizes.sum(1))
    assert n_edges == most(sizes[:, case.n_active :].sum(1)) + (N_TARGETS + n_chosen) * n_chosen


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_effect_that_is_not_finite_is_refused(value: float) -> None:
    case = Case()
    store = case.store(N_TARGETS + 3)
    row = int(np.flatnonzero(np.abs(case.dense[: case.n_active]).sum(1))[0])
    case.dense[row, int(np.flatnonzero(case.dense[row])[0])] = value
    with pytest.raises(BooksError, match="overflow float64"):
        case.add(store, np.array([row]), np.array([row]))
