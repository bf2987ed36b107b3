"""The graph's rows while they are produced: dense once, turned into the sparse rectangle at the end."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from circuits.graph import Books
from circuits.influence import partial_influence
from circuits.sweep import RowBlock
from circuits.targets import TargetRows

__all__ = ["RowStore"]

CHUNK = 256  # rows turned sparse at a time


@dataclass(frozen=True, slots=True)
class _Sums:
    """Sums over the columns of some rows, in float64."""

    selected: Float[np.ndarray, "n"]
    omitted: Float[np.ndarray, "n"]
    absolute: Float[np.ndarray, "n"]


class RowStore:
    """Rows in the order in which they are attributed, the graph's targets first.

    Columns are features in position-major order, errors and tokens.
    """

    def __init__(
        self,
        targets: TargetRows,
        features: Int[np.ndarray, "n_active 3"],
        by_pos: Int[np.ndarray, "n_active"],
        n_rest: int,
        max_rows: int,
    ) -> None:
        dtype = targets.pre_act.cpu().numpy().dtype
        self._features, self._by_pos = features, by_pos
        self._col = np.empty_like(by_pos)  # column of each active feature
        self._col[by_pos] = np.arange(len(by_pos))
        self._values = np.empty((max_rows, len(features) + n_rest), dtype=dtype)
        self._row_feature = np.full(max_rows, -1)
        self._terms = np.zeros((3, max_rows))  # pre_act, constant, rounding
        self._weights = np.array([target.weight for target in targets.targets])
        self._n_done = 0

    @property
    def n_features(self) -> int:
        """How many features have a row."""
        return max(0, self._n_done - len(self._weights))

    def start_batch(
        self,
        chosen: Int[np.ndarray, "n"],
        pre_acts: Float[np.ndarray, "n"],
        constants: Float[np.ndarray, "n"],
    ) -> int:
        """Make room for a batch of rows; returns the first. `chosen`: active features, -1 for the graph's targets."""
        first, stop = self._n_done, self._n_done + len(chosen)
        self._row_feature[first:stop] = chosen
        self._terms[0, first:stop] = pre_acts
        self._terms[1, first:stop] = constants
        self._n_done = stop
        return first

    def fill(self, first: int, block: RowBlock) -> None:
        """Store one block of a batch that begins at row `first`."""
        rows = first + block.index.cpu().numpy()
        n_active, errors = len(self._features), block.errors.flatten(1)
        n_errors = errors.shape[1]
        self._values[rows, :n_active] = block.features.cpu().numpy()
        self._values[rows, n_active : n_active + n_errors] = errors.cpu().numpy()
        self._values[rows, n_active + n_errors :] = block.tokens.cpu().numpy()
        self._terms[1, rows] += block.constant.cpu().numpy()
        self._terms[2, rows] += block.rounding.cpu().numpy()

    def most_influential(self, count: int) -> Int[np.ndarray, "n"]:
        """The `count` active features without a row that influence the targets most; ties go to the lower index."""
        done = self._row_feature[: self._n_done]
        row_col = np.where(done >= 0, self._col[done], -1)
        row_layer = np.where(done >= 0, self._features[done, 0], -1)
        influence = partial_influence(self._values[: self._n_done], row_col, row_layer, self._weights)[self._col]
        influence[done[done >= 0]] = -1.0
        return np.argsort(-influence, kind="stable")[: min(count, len(influence) - self.n_features)]

    def finish(self) -> tuple[Int[np.ndarray, "n_selected"], sp.csr_array, Books]:
        """The selected features in order, the sparse rectangle over them, and the books."""
        n_targets, n_active = len(self._weights), len(self._features)
        selected = np.sort(self._row_feature[n_targets : self._n_done])
        order = np.empty(self._n_done, dtype=np.int64)  # stored row of each row of the graph
        order[: len(selected)] = n_targets + np.argsort(self._row_feature[n_targets : self._n_done])
        order[len(selected) :] = np.arange(n_targets)
        kept = np.concatenate([self._col[selected], np.arange(n_active, self._values.shape[1])])
        unselected = np.ones(n_active, dtype=bool)
        unselected[self._col[selected]] = False
        parts, sums = [], []
        for chunk in np.split(order, np.arange(CHUNK, len(order), CHUNK)):
            rows = self._values[chunk]
            parts.append(sp.csr_array(rows[:, kept]))
            sums.append(_sums(rows, kept, np.flatnonzero(unselected)))
        return selected, sp.csr_array(sp.vstack(parts, format="csr")), _books(self._terms[:, order], sums)


def _sums(rows: Float[np.ndarray, "n n_cols"], kept: Int[np.ndarray, "_"], unselected: Int[np.ndarray, "_"]) -> _Sums:
    return _Sums(
        selected=rows[:, kept].sum(1, dtype=np.float64),
        omitted=rows[:, unselected].sum(1, dtype=np.float64),
        absolute=np.abs(rows).sum(1, dtype=np.float64),
    )


def _books(terms: Float[np.ndarray, "3 n_rows"], sums: list[_Sums]) -> Books:
    pre_act, constant, rounding = terms
    edges = np.concatenate([part.selected for part in sums])
    omitted = np.concatenate([part.omitted for part in sums])
    absolute = np.concatenate([part.absolute for part in sums]) + np.abs(constant) + np.abs(rounding)
    difference = np.abs(edges + omitted + constant + rounding - pre_act)
    # A target that nothing reaches has no terms; it closes if its value is zero too.
    residual = difference / np.where(absolute > 0, absolute, 1.0)
    return Books(pre_act, constant, omitted, rounding, float(residual.max(initial=0.0)))
