"""The graph's rows while they are produced: only their causal cones, turned into the sparse rectangle at the end.

Rows are exact and hold every active feature, because which ones will be selected is not known before the last row.
They lie in memory, or in a temporary file that the system reads and writes as memory allows.
"""

import tempfile
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from circuits.cone import Cone
from circuits.graph import Books
from circuits.kernels import add_up_packed, pack_rows, spread_packed, unpack_rows
from circuits.sweep import RowBlock, SourceRows, n_layers_below
from circuits.targets import TargetRows
from replacement_model import BooksError

__all__ = ["RowStore"]


@dataclass(frozen=True, slots=True)
class _Rows:
    """Packed rows: where each begins in `values`, how many layers and positions it reaches, its sum of |.|."""

    begins: Int[np.ndarray, "n"]
    below: Int[np.ndarray, "n"]
    positions: Int[np.ndarray, "n"]
    sums: Float[np.ndarray, "n"]

    @classmethod
    def empty(cls, n: int) -> "_Rows":
        begins, below, positions = np.zeros((3, n), dtype=np.int64)
        return cls(begins, below, positions, np.zeros(n))

    def __getitem__(self, index: Int[np.ndarray, "m"] | slice) -> "_Rows":
        return _Rows(self.begins[index], self.below[index], self.positions[index], self.sums[index])

    @property
    def places(self) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
        """What the kernels need to find a row."""
        return self.begins, self.below, self.positions


class RowStore:
    """Rows in the order in which they are attributed, the graph's targets first.

    Args:
        targets: the graph's targets.
        features: (layer, pos, feature_idx) of the active features.
        by_pos: the same in position-major order, as indices into `features`.
        cone: of these features.
        max_rows: how many rows will be stored.
        in_file: hold them in a temporary file.
    """

    def __init__(
        self,
        targets: TargetRows,
        features: Int[np.ndarray, "n_active 3"],
        by_pos: Int[np.ndarray, "n_active"],
        cone: Cone,
        max_rows: int,
        in_file: bool = False,
    ) -> None:
        dtype = targets.pre_act.cpu().numpy().dtype
        self._features, self._cone, self._weights = features, cone, _weights(targets)
        self._col = np.empty_like(by_pos)  # place of each active feature in position-major order
        self._col[by_pos] = np.arange(len(by_pos))
        size, _ = self.sizes(targets, features, cone, max_rows)
        self._values = _in_file(size, dtype) if in_file else np.empty(size, dtype=dtype)
        self._rows, self._n_values = _Rows.empty(max_rows), 0
        self._row_feature = np.full(max_rows, -1)
        self._terms = np.zeros((3, max_rows))  # pre_act, constant, rounding
        self._n_done = 0

    @staticmethod
    def sizes(
        targets: TargetRows, features: Int[np.ndarray, "n_active 3"], cone: Cone, max_rows: int
    ) -> tuple[int, int]:
        """How many numbers the store holds, and how many edges the graph has, at most."""
        below, pos = n_layers_below(targets.rows.depth).cpu().numpy(), targets.rows.pos.cpu().numpy()
        n_features = max_rows - len(pos)
        n_values = cone.row_sizes(below, pos).sum() + cone.largest(features, n_features)
        n_rest = ((below + 1) * (pos + 1)).sum() + cone.largest_rest(features, n_features)
        return int(n_values), int(n_rest) + max_rows * n_features

    @property
    def n_features(self) -> int:
        """How many features have a row."""
        return max(0, self._n_done - len(self._weights))

    def start_batch(
        self,
        chosen: Int[np.ndarray, "n"],
        rows: SourceRows,
        pre_acts: Float[np.ndarray, "n"],
        constants: Float[np.ndarray, "n"],
    ) -> int:
        """Make room for a batch of rows; returns the first. `chosen`: active features, -1 for the graph's targets."""
        first, stop = self._n_done, self._n_done + len(chosen)
        self._row_feature[first:stop] = chosen
        self._terms[0, first:stop] = pre_acts
        self._terms[1, first:stop] = constants
        new = self._rows[first:stop]
        new.below[:], new.positions[:] = n_layers_below(rows.depth).cpu().numpy(), rows.pos.cpu().numpy()
        ends = self._n_values + self._cone.row_sizes(new.below, new.positions).cumsum()
        new.begins[:] = np.concatenate([[self._n_values], ends[:-1]])[: len(chosen)]
        self._n_values = int(ends[-1]) if len(ends) else self._n_values
        self._n_done = stop
        return first

    def fill(self, first: int, block: RowBlock) -> None:
        """Store one block of a batch that begins at row `first`.

        Raises:
            BooksError: an effect is not finite.
        """
        rows = first + block.index.cpu().numpy()
        dense = (part.cpu().numpy() for part in (block.features, block.errors, block.tokens))
        new = self._rows[rows]
        pack_rows(*dense, self._cone.starts, *new.places, self._values, new.sums)
        if not np.isfinite(new.sums).all():
            raise BooksError(
                f"some effects overflow {self._values.dtype}: a frozen norm's denominator is close to zero, as where a "
                "token's embedding is; leave that token out, or trace the model in float64"
            )
        self._rows.sums[rows] = new.sums
        self._terms[1, rows] += block.constant.cpu().numpy()
        self._terms[2, rows] += block.rounding.cpu().numpy()

    def most_influential(self, count: int) -> Int[np.ndarray, "n"]:
        """The `count` active features without a row that influence the targets most; ties go to the lower index.

        Influence runs through the rows that are known so far.
        """
        done, rows, n_targets = self._row_feature[: self._n_done], self._rows[: self._n_done], len(self._weights)
        row_col = np.where(done >= 0, self._col[done], -1) if len(self._col) else done
        order = np.argsort(-rows.below[n_targets:], kind="stable") + n_targets
        by_pos = np.zeros(len(self._col))
        starts = self._cone.starts
        spread_packed(self._values, starts, *rows.places, rows.sums, row_col, order, self._weights, by_pos)
        influence = by_pos[self._col]
        influence[done[done >= 0]] = -1.0
        return np.argsort(-influence, kind="stable")[: min(count, len(influence) - self.n_features)]

    def finish(self) -> tuple[Int[np.ndarray, "n_selected"], sp.csr_array, Books]:
        """The selected features in order, the sparse rectangle over them, and the books."""
        n_targets = len(self._weights)
        selected = np.sort(self._row_feature[n_targets : self._n_done])
        order = np.empty(self._n_done, dtype=np.int64)  # stored row of each row of the graph
        order[: len(selected)] = n_targets + np.argsort(self._row_feature[n_targets : self._n_done])
        order[len(selected) :] = np.arange(n_targets)
        rows, is_kept = self._rows[order], np.zeros(len(self._col), dtype=bool)
        is_kept[self._col[selected]] = True
        n_kept, kept, omitted = np.zeros(len(order), dtype=np.int64), np.zeros(len(order)), np.zeros(len(order))
        add_up_packed(self._values, self._cone.starts, *rows.places, is_kept, n_kept, kept, omitted)
        return selected, self._sparse(rows, selected, n_kept), _books(self._terms[:, order], rows.sums, kept, omitted)

    def _sparse(
        self, rows: _Rows, selected: Int[np.ndarray, "n_selected"], n_kept: Int[np.ndarray, "n"]
    ) -> sp.csr_array:
        """Edges from the selected features, errors and tokens, in arrays made once in their final size."""
        starts, (layer, pos, _) = self._cone.starts, self._features[selected].T
        indptr = np.concatenate([[0], n_kept.cumsum()])
        shape = (len(n_kept), len(selected) + len(starts) * self._cone.n_pos)
        indices = np.empty(indptr[-1], dtype=np.int32)
        data = np.empty(indptr[-1], dtype=self._values.dtype)
        offsets = self._col[selected] - starts[-1, pos]
        unpack_rows(self._values, starts, *rows.places, layer, pos, offsets, indptr, indices, data)
        if indptr[-1] <= np.iinfo(np.int32).max:
            indptr = indptr.astype(np.int32)  # or scipy would widen the indices too
        return sp.csr_array((data, indices, indptr), shape=shape)


def _weights(targets: TargetRows) -> Float[np.ndarray, "n_targets"]:
    return np.array([target.weight for target in targets.targets])


def _in_file(size: int, dtype: np.dtype) -> Float[np.ndarray, "size"]:
    """Numbers in a temporary file that is gone when they are; no disk is used for what is never written."""
    with tempfile.TemporaryFile(prefix="orrery-rows-") as file:
        return np.memmap(file, dtype, mode="w+", shape=(size,))


def _books(
    terms: Float[np.ndarray, "3 n_rows"],
    sums: Float[np.ndarray, "n_rows"],
    kept: Float[np.ndarray, "n_rows"],
    omitted: Float[np.ndarray, "n_rows"],
) -> Books:
    pre_act, constant, rounding = terms
    absolute = sums + np.abs(constant) + np.abs(rounding)
    difference = np.abs(kept + omitted + constant + rounding - pre_act)
    # A target that nothing reaches has no terms; it closes if its value is zero too.
    residual = difference / np.where(absolute > 0, absolute, 1.0)
    return Books(pre_act, constant, omitted, rounding, float(residual.max(initial=0.0)))
